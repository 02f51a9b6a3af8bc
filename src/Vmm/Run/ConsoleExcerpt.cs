namespace Vmm.Run;

/// <summary>The part of the guest's console to show with a result.</summary>
internal static class ConsoleExcerpt
{
    private const int Most = 25, MostOfHang = 200, BeforeHang = 2000;

    /// <param name="mark">Where the output of SysRq began, in bytes from the start; 0 for none.</param>
    public static IReadOnlyList<string> Last(ConsoleTail tail, long mark)
    {
        bool isHang = mark != 0 && tail.Total > mark;
        IReadOnlyList<string> lines = tail.Lines(isHang ? Math.Max(0, mark - BeforeHang) : 0);
        return [.. lines.TakeLast(isHang ? MostOfHang : Most)];
    }

    /// <summary>The lines around a place, as far as the console's ring still has them.</summary>
    /// <param name="end">Where the line ends, in bytes from the start.</param>
    public static IReadOnlyList<string> Around(ConsoleTail tail, long end)
    {
        const int Before = 1200, Behind = 4000, MostLines = 50;
        return [.. tail.Lines(Math.Max(0, end - Before), end + Behind).Take(MostLines)];
    }
}
