namespace Vmm.Tests.Agent;

/// <summary>Files of the working tree.</summary>
internal static class Repository
{
    public static string Find(string path)
    {
        for (DirectoryInfo? at = new(AppContext.BaseDirectory); at is not null; at = at.Parent)
        {
            if (File.Exists(Path.Combine(at.FullName, "Vmm.sln")))
            {
                return Path.Combine(at.FullName, path);
            }
        }

        throw new InvalidOperationException($"no Vmm.sln above {AppContext.BaseDirectory}");
    }
}
