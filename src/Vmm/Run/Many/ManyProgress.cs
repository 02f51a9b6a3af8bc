using System.Globalization;
using System.Text;
using Vmm.Host;
using Vmm.Run.Results;
using Vmm.Text;

namespace Vmm.Run.Many;

/// <summary>The progress of many runs: a line for each that has ended, with its output if it failed, and on a terminal rows
/// below with those that are running.</summary>
/// <remarks>Spectre.Console has live tables, but is 1.7 MB of native code (0.5x, linux-x64, 2026-11); this needs two escape
/// sequences.
/// </remarks>
internal sealed class ManyProgress(int total, bool showAll)
{
    private const string Green = "32", Red = "1;31", Dim = "2";
    private const int MostRows = 16;
    private const int NotRepeated = 3, Piece = 32 << 10;

    private readonly TextStyle _style = TextStyle.Of(2);
    private readonly bool _isTerminal = Stderr.IsTerminal;
    private int _done, _failed;
    private int _rows;

    /// <param name="output">The file with the run's output.</param>
    public void Ended(RunResult result, TimeSpan elapsed, string output)
    {
        _done++;
        bool passed = result.Verdict == RunOutcome.Passed;
        _failed += passed ? 0 : 1;
        string mark = passed ? _style.Paint("PASS", Green) : _style.Paint("FAIL", Red);
        string why = passed ? "" : $"  ({PrintableText.Of(result.Message ?? string.Create(CultureInfo.InvariantCulture, $"exit code {result.Code}"))})";
        Clear();
        Stderr.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"{mark} [{elapsed.TotalSeconds,7:0.00}s] {PrintableText.Of(result.Name)}{why}"));
        if (!passed || showAll)
        {
            Copy(output);
        }
    }

    /// <summary>Redraws the rows of running items, below all other lines.</summary>
    public void Show(IEnumerable<(string Name, TimeSpan Elapsed)> running)
    {
        if (!_isTerminal)
        {
            return;
        }

        // One row less than the terminal is wide: a row never wraps, and so the number of lines to go up is known.
        (ushort lines, ushort columns) = Backends.Console.Terminal.SizeOf(2);
        int width = Math.Max(20, columns - 1);
        (string Name, TimeSpan Elapsed)[] all = [.. running.OrderByDescending(static each => each.Elapsed)];
        int most = Math.Clamp(lines - 4, 1, MostRows);
        string failed = _failed > 0 ? string.Create(CultureInfo.InvariantCulture, $", {_failed} failed") : "";
        var text = new StringBuilder();
        Row(string.Create(CultureInfo.InvariantCulture, $"{_done}/{total} done{failed}; {all.Length} running"));
        foreach ((string name, TimeSpan elapsed) in all.Take(most))
        {
            Row(string.Create(CultureInfo.InvariantCulture, $"     [{elapsed.TotalSeconds,7:0.0}s] {PrintableText.Of(name)}"));
        }

        Clear();
        Stderr.Write(text.ToString());
        _rows = 1 + Math.Min(all.Length, most);

        void Row(string row) => text.Append(_style.Paint(row.Length > width ? row[..width] : row, Dim)).Append('\n');
    }

    /// <summary>Prints a message.</summary>
    public void Note(string text)
    {
        Clear();
        Stderr.WriteLine($"vmm: {text}");
    }

    /// <summary>Erases the rows of running items (ECMA-48 8.3: CPL, ED).</summary>
    public void Clear()
    {
        if (_rows > 0)
        {
            Stderr.Write(string.Create(CultureInfo.InvariantCulture, $"\e[{_rows}F\e[J"));
            _rows = 0;
        }
    }

    public void Summary(IReadOnlyList<RunResult> results, TimeSpan time, int left)
    {
        Clear();
        int failed = results.Count(static each => each.Verdict != RunOutcome.Passed);
        Stderr.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"vmm: {results.Count - failed} passed, {failed} failed{(left > 0 ? $", {left} not run" : "")} in {time.TotalSeconds:0.0} s"));
        if (results.Count > NotRepeated)
        {
            foreach (RunResult result in results.Where(static each => each.Verdict != RunOutcome.Passed))
            {
                Stderr.WriteLine($"vmm: failed: {PrintableText.Of(result.Name)}: {PrintableText.Of(result.Message ?? $"exit code {result.Code}")}");
            }
        }
    }

    /// <summary>Copies the output of a run, each line indented.</summary>
    private static void Copy(string path)
    {
        char[] piece = new char[Piece];
        bool atLineStart = true;
        try
        {
            using StreamReader reader = new(path);
            int count;
            while ((count = reader.Read(piece, 0, piece.Length)) > 0)
            {
                var text = new StringBuilder(count + (count / 16));
                foreach (char each in piece.AsSpan(0, count))
                {
                    if (each == '\r')
                    {
                        continue;
                    }

                    text.Append(atLineStart ? "    " : "").Append(each);
                    atLineStart = each == '\n';
                }

                Stderr.Write(text.ToString());
            }
        }
        catch (IOException)
        {
            // There is no more to tell.
        }

        if (!atLineStart)
        {
            Stderr.Write("\n");
        }
    }
}
