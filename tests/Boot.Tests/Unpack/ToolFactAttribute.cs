namespace Vmm.Boot.Tests.Unpack;

/// <summary>A test that needs programs on PATH: without them it is reported as skipped.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class ToolFactAttribute : FactAttribute
{
    public ToolFactAttribute(params string[] tools)
    {
        string[] missing = [.. tools.Where(tool => !IsOnPath(tool))];
        if (missing.Length != 0)
        {
            Skip = $"not on PATH: {string.Join(", ", missing)}";
        }
    }

    private static bool IsOnPath(string tool) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(folder => File.Exists(Path.Combine(folder, tool)));
}

/// <summary>A test of every format: reported as skipped, naming what is missing, where the system has not all the
/// libraries. Tests of single formats then leave those out.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class AllLibrariesFactAttribute : FactAttribute
{
    public AllLibrariesFactAttribute()
    {
        string[] missing = [.. Packed.Streams.Keys.Where(format => Packed.CodecOf(format) is null)];
        if (missing.Length != 0)
        {
            Skip = $"no system library for {string.Join(", ", missing)}";
        }
    }
}

/// <summary>A test that needs the reference kernel, which `make guest` builds.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class ReferenceKernelFactAttribute : FactAttribute
{
    public ReferenceKernelFactAttribute()
    {
        if (Find() is null)
        {
            Skip = "out/guest/bzImage is not built";
        }
    }

    public static string? Find()
    {
        for (string? folder = AppContext.BaseDirectory; folder is not null; folder = Path.GetDirectoryName(folder))
        {
            string path = Path.Combine(folder, "out", "guest", "bzImage");
            if (File.Exists(path))
            {
                return path;
            }
        }

        return null;
    }
}
