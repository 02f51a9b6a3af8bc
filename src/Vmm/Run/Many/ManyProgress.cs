using System.Globalization;
using System.Text;
using Vmm.Host;
using Vmm.Run.Results;
using Vmm.Text;

namespace Vmm.Run.Many;

/// <summary>What is told while many runs are on their way: a line for each that has ended, with its output where it failed, and on a
/// terminal a line below that says what is running.</summary>
internal sealed class ManyProgress(int total, bool showAll)
{
    private const string Green = "32", Red = "1;31", Dim = "2";
    private const int MostRunningShown = 3;

    private readonly TextStyle _style = TextStyle.Of(2);
    private readonly bool _isTerminal = Stderr.IsTerminal;
    private int _done, _failed;
    private bool _isShown;

    public void Ended(ChildRun child, RunResult result)
    {
        _done++;
        bool passed = result.Verdict == RunOutcome.Passed;
        _failed += passed ? 0 : 1;
        var text = new StringBuilder();
        string mark = passed ? _style.Paint("PASS", Green) : _style.Paint("FAIL", Red);
        text.Append(CultureInfo.InvariantCulture, $"{mark} [{child.Elapsed.TotalSeconds,7:0.00}s] {PrintableText.Of(result.Name)}");
        if (!passed)
        {
            text.Append(CultureInfo.InvariantCulture, $"  ({result.Message ?? $"exit code {result.Code}"})");
        }

        text.Append('\n');
        if (!passed || showAll)
        {
            foreach (string line in child.Output().TrimEnd('\n').Split('\n'))
            {
                text.Append("    ").Append(line.TrimEnd('\r')).Append('\n');
            }
        }

        Clear();
        Stderr.Write(text.ToString());
    }

    /// <summary>Draws the last line anew.</summary>
    public void Show(IReadOnlyCollection<ChildRun> running)
    {
        if (!_isTerminal)
        {
            return;
        }

        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{_done}/{total} done");
        text.Append(_failed > 0 ? string.Create(CultureInfo.InvariantCulture, $", {_failed} failed") : "");
        text.Append(CultureInfo.InvariantCulture, $"; {running.Count} running");
        string separator = ": ";
        foreach (ChildRun child in running.OrderByDescending(static each => each.Elapsed).Take(MostRunningShown))
        {
            text.Append(CultureInfo.InvariantCulture, $"{separator}{PrintableText.Of(child.Item.Name)} {child.Elapsed.TotalSeconds:0}s");
            separator = ", ";
        }

        int width = Math.Max(20, Backends.Console.Terminal.SizeOf(2).Columns - 1);
        string line = text.Length > width ? text.ToString(0, width) : text.ToString();
        Stderr.Write($"\r\e[K{_style.Paint(line, Dim)}");
        _isShown = true;
    }

    /// <summary>Something worth a line.</summary>
    public void Note(string text)
    {
        Clear();
        Stderr.WriteLine($"vmm: {text}");
    }

    public void Clear()
    {
        if (_isShown)
        {
            Stderr.Write("\r\e[K");
            _isShown = false;
        }
    }

    public void Summary(IReadOnlyList<RunResult> results, TimeSpan time, int left)
    {
        Clear();
        int failed = results.Count(static each => each.Verdict != RunOutcome.Passed);
        Stderr.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"vmm: {results.Count - failed} passed, {failed} failed{(left > 0 ? $", {left} not run" : "")} in {time.TotalSeconds:0.0} s"));
        if (results.Count > MostRunningShown)
        {
            foreach (RunResult result in results.Where(static each => each.Verdict != RunOutcome.Passed))
            {
                Stderr.WriteLine($"vmm: failed: {PrintableText.Of(result.Name)}: {result.Message ?? $"exit code {result.Code}"}");
            }
        }
    }
}
