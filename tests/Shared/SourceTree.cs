namespace Vmm.Tests.Shared;

/// <summary>The repository that the tests were built from.</summary>
internal static class SourceTree
{
    public static string Root { get; } = Find();

    private static string Find()
    {
        for (DirectoryInfo? at = new(AppContext.BaseDirectory); at is not null; at = at.Parent)
        {
            if (File.Exists(Path.Combine(at.FullName, "Vmm.sln")))
            {
                return at.FullName;
            }
        }

        throw new InvalidOperationException($"no Vmm.sln above {AppContext.BaseDirectory}");
    }
}
