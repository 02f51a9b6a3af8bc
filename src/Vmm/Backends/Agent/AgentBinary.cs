namespace Vmm.Backends.Agent;

/// <summary>The agent's executable, which is embedded in vmm (firmware/agent).</summary>
internal static class AgentBinary
{
    public const string ResourceName = "agent";

    public static byte[] Read()
    {
        using Stream resource = typeof(AgentBinary).Assembly.GetManifestResourceStream(ResourceName)
            ?? throw new InvalidOperationException("this build of vmm has no agent in it");
        byte[] bytes = new byte[resource.Length];
        resource.ReadExactly(bytes);
        return bytes;
    }
}
