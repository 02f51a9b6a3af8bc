using System.Globalization;
using System.Text;
using Vmm.Text;

namespace Vmm.Run.Results;

/// <summary>Finds test results in what a command prints: KTAP (Documentation/dev-tools/ktap.rst of Linux) and TAP 13, nested by
/// indentation or, as kselftest does it, by <c># </c> before each line.</summary>
/// <remarks>
/// Nothing counts before a version line or a plan, so that programs may print anything. A test with subtests is the prefix of
/// their names; it is a case of its own only when it failed and none of them did. Everything is bounded, as a guest may print
/// anything: lines by <see cref="LongestLine"/>, cases by <see cref="MostCases"/>, of which those beyond are only counted.
/// </remarks>
internal sealed class TapParser
{
    public const int LongestLine = 4096, MostCases = 20_000;
    private const int LongestName = 300, MostNotes = 12, DeepestIndent = 64;

    private readonly byte[] _line = new byte[LongestLine];
    private readonly List<TestCase> _cases = [];
    private readonly List<Level> _levels = [];
    private readonly List<string> _notes = [];
    private int _length;
    private bool _began;

    /// <summary>A list of tests that is being read.</summary>
    private sealed record Level(int Indent, int FirstCase)
    {
        private readonly HashSet<int> _numbers = [];

        public int? Plan { get; set; }

        public int Seen { get; private set; }

        /// <summary>A number that came twice; null while there is none.</summary>
        public int? Twice { get; private set; }

        /// <param name="number">The test's own; none where it has none, or an absurd one.</param>
        public void See(int? number)
        {
            Seen++;
            if (number is { } one && _numbers.Count < MostCases && !_numbers.Add(one))
            {
                Twice ??= one;
            }
        }
    }

    /// <summary>The cases so far, in order.</summary>
    public IReadOnlyList<TestCase> Cases => _cases;

    /// <summary>Of all, also those beyond the limit.</summary>
    public int Total { get; private set; }

    /// <inheritdoc cref="Total"/>
    public int Failures { get; private set; }

    /// <summary>Takes the next bytes, split anywhere.</summary>
    public void Add(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            int end = bytes.IndexOf((byte)'\n');
            ReadOnlySpan<byte> part = end < 0 ? bytes : bytes[..end];
            int taken = Math.Min(part.Length, LongestLine - _length);
            part[..taken].CopyTo(_line.AsSpan(_length));
            _length += taken;
            if (end < 0)
            {
                return;
            }

            Read(_line.AsSpan(0, _length));
            _length = 0;
            bytes = bytes[(end + 1)..];
        }
    }

    /// <summary>The command has ended: planned tests without a result are errors, and so are results beyond the plan. A list without a plan
    /// is none (ktap.rst lets it be left out).</summary>
    public void Finish()
    {
        if (_length > 0)
        {
            Read(_line.AsSpan(0, _length));
            _length = 0;
        }

        while (_levels.Count > 0)
        {
            Leave();
        }
    }

    private void Read(ReadOnlySpan<byte> bytes)
    {
        if (bytes.EndsWith("\r"u8))
        {
            bytes = bytes[..^1];
        }

        // Only lines that may be of TAP are decoded.
        ReadOnlySpan<byte> bare = bytes.TrimStart(" #"u8);
        int indent = bytes.Length - bare.Length;
        if (indent <= DeepestIndent && IsInteresting(bare))
        {
            string text = Encoding.UTF8.GetString(bare);
            if (text.StartsWith("TAP version ", StringComparison.Ordinal) || text.StartsWith("KTAP version ", StringComparison.Ordinal))
            {
                EnterNew(indent, static level => level.Plan is not null || level.Seen > 0);
                return;
            }

            if (text.StartsWith("1..", StringComparison.Ordinal) && TryPlan(text, indent))
            {
                return;
            }

            if (_began && TryResult(text, indent))
            {
                return;
            }

            if (_began && text.StartsWith("Bail out!", StringComparison.Ordinal))
            {
                Record(new TestCase("Bail out", TestOutcome.Error, Clean(text["Bail out!".Length..])));
                return;
            }
        }

        if (_began && bytes.TrimStart((byte)' ').StartsWith("#"u8) && !bare.IsEmpty)
        {
            if (_notes.Count == MostNotes)
            {
                _notes.RemoveAt(0);
            }

            _notes.Add(Clean(Encoding.UTF8.GetString(bare)));
        }
    }

    private static bool IsInteresting(ReadOnlySpan<byte> text) =>
        text.StartsWith("ok"u8) || text.StartsWith("not ok"u8) || text.StartsWith("1.."u8) || text.StartsWith("TAP version "u8)
        || text.StartsWith("KTAP version "u8) || text.StartsWith("Bail out!"u8);

    private bool TryPlan(string text, int indent)
    {
        string number = new([.. text.Skip(3).TakeWhile(char.IsAsciiDigit)]);
        if (!int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out int plan))
        {
            return false;
        }

        Level level = EnterNew(indent, static level => level.Plan is not null);
        if (plan == 0 && level.Seen == 0)
        {
            string rest = Clean(text[(3 + number.Length)..]);
            Record(new TestCase("all", TestOutcome.Skip, rest.Length > 0 ? rest.TrimStart('#', ' ') : null));
        }

        level.Plan = plan;
        return true;
    }

    private bool TryResult(string text, int indent)
    {
        bool isOk = text.StartsWith("ok", StringComparison.Ordinal);
        if (!isOk && !text.StartsWith("not ok", StringComparison.Ordinal))
        {
            return false;
        }

        string rest = text[(isOk ? 2 : "not ok".Length)..];
        if (rest.Length > 0 && rest[0] is not (' ' or '\t'))
        {
            return false;
        }

        rest = rest.TrimStart();
        int digits = rest.TakeWhile(char.IsAsciiDigit).Count();
        string number = rest[..digits];
        rest = rest[digits..].TrimStart();
        rest = rest.StartsWith("- ", StringComparison.Ordinal) ? rest[2..] : rest;
        int hash = rest.IndexOf("# ", StringComparison.Ordinal);
        string name = Clean(hash < 0 ? rest : rest[..hash]);
        string directive = hash < 0 ? "" : Clean(rest[(hash + 2)..]);
        name = name.Length > 0 ? name : number.Length > 0 ? number : "test";

        // Deeper levels are subtests of this test.
        Level? inner = null;
        while (_levels is [.., var last] && last.Indent > indent)
        {
            inner = last;
            Leave();
        }

        Level level = Enter(indent);
        level.See(int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out int own) ? own : null);
        TestOutcome outcome = OutcomeOf(isOk, directive);
        string? message = outcome is TestOutcome.Pass ? null : MessageOf(directive);
        _notes.Clear();
        bool hasCases = inner is not null && inner.FirstCase < _cases.Count;
        bool toldByThem = hasCases && _cases.Skip(inner!.FirstCase).Any(static each => each.Outcome.IsFailure());
        if (hasCases)
        {
            for (int i = inner!.FirstCase; i < _cases.Count; i++)
            {
                _cases[i] = _cases[i] with { Name = Cut($"{name}: {_cases[i].Name}") };
            }
        }

        if (!hasCases || (outcome.IsFailure() && !toldByThem))
        {
            Record(new TestCase(name, outcome, message));
        }

        return true;
    }

    private static TestOutcome OutcomeOf(bool isOk, string directive)
    {
        string word = new([.. directive.TakeWhile(char.IsAsciiLetter)]);
        return word.ToUpperInvariant() switch
        {
            "SKIP" or "SKIPPED" => TestOutcome.Skip,
            "XFAIL" => TestOutcome.ExpectedFail,
            "TODO" => isOk ? TestOutcome.Pass : TestOutcome.ExpectedFail,
            "TIMEOUT" => TestOutcome.Timeout,
            "ERROR" => TestOutcome.Error,
            _ => isOk ? TestOutcome.Pass : TestOutcome.Fail,
        };
    }

    private string? MessageOf(string directive)
    {
        IEnumerable<string> lines = directive.Length > 0 ? _notes.Append(directive) : _notes;
        string text = string.Join('\n', lines);
        return text.Length > 0 ? text : null;
    }

    /// <summary>The level of an indentation; a new one if there is none.</summary>
    private Level Enter(int indent)
    {
        _began = true;
        while (_levels is [.., var last] && last.Indent > indent)
        {
            Leave();
        }

        if (_levels is [.., var same] && same.Indent == indent)
        {
            return same;
        }

        var level = new Level(indent, _cases.Count);
        _levels.Add(level);
        return level;
    }

    /// <summary>The same at the start of another list: programs that run one after the other have one each.</summary>
    private Level EnterNew(int indent, Func<Level, bool> isAnother)
    {
        if (isAnother(Enter(indent)))
        {
            Leave();
        }

        return Enter(indent);
    }

    private void Leave()
    {
        Level level = _levels[^1];
        _levels.RemoveAt(_levels.Count - 1);
        if (level.Plan is { } plan && (plan != level.Seen || level.Twice is not null))
        {
            string twice = plan == level.Seen ? string.Create(CultureInfo.InvariantCulture, $", and number {level.Twice} came twice") : "";
            Record(new TestCase(
                plan < level.Seen ? "results without a plan" : "missing results", TestOutcome.Error,
                string.Create(CultureInfo.InvariantCulture, $"{plan} tests were planned, {level.Seen} gave a result{twice}")));
        }
    }

    private void Record(TestCase test)
    {
        Total++;
        Failures += test.Outcome.IsFailure() ? 1 : 0;
        if (_cases.Count < MostCases)
        {
            _cases.Add(test);
        }
    }

    private static string Clean(string text) => Cut(PrintableText.Of(text.Trim()));

    private static string Cut(string text) => text.Length <= LongestName ? text : text[..LongestName] + "...";
}
