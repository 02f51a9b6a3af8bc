using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Vmm.Run.Results;

namespace Vmm.Tests.Run;

public sealed class TapParserTests
{
    [Fact]
    public void A_flat_list_with_its_directives()
    {
        TapParser parser = Parse("""
            noise
            ok 1 too early
            TAP version 13
            1..7
            ok 1 - plain
            not ok 2 broken
            ok 3 left out # SKIP no such hardware
            not ok 4 not yet # TODO later
            not ok 5 - slow # TIMEOUT 45 seconds
            ok 6 known # XFAIL
            not ok 7 itself # ERROR setup
            """);
        Assert.Equal(
            [("plain", TestOutcome.Pass), ("broken", TestOutcome.Fail), ("left out", TestOutcome.Skip), ("not yet", TestOutcome.ExpectedFail),
                ("slow", TestOutcome.Timeout), ("known", TestOutcome.ExpectedFail), ("itself", TestOutcome.Error)],
            parser.Cases.Select(static each => (each.Name, each.Outcome)));
        Assert.Equal((7, 3), (parser.Total, parser.Failures));
        Assert.Equal("SKIP no such hardware", parser.Cases[2].Message);
    }

    [Fact]
    public void Nested_by_indentation_as_KUnit_does()
    {
        TapParser parser = Parse("""
            KTAP version 1
            1..2
              KTAP version 1
              1..2
                KTAP version 1
                1..1
                # deep: EXPECTATION FAILED at lib/x.c:12
                not ok 1 deep
              # inner: pass:0 fail:1
              not ok 1 inner
              ok 2 other
            not ok 1 outer
            ok 2 alone
            """);
        Assert.Equal(
            ["outer: inner: deep", "outer: other", "alone"], parser.Cases.Select(static each => each.Name));
        Assert.Equal((3, 1), (parser.Total, parser.Failures));
        Assert.Equal("deep: EXPECTATION FAILED at lib/x.c:12", parser.Cases[0].Message);
    }

    [Fact]
    public void Nested_in_comments_as_kselftest_does()
    {
        TapParser parser = Parse("""
            TAP version 13
            1..2
            # timeout set to 45
            # selftests: net: first
            # TAP version 13
            # 1..2
            # ok 1 a
            # not ok 2 b
            # # Totals: pass:1 fail:1
            not ok 1 selftests: net: first # exit=1
            # selftests: net: second
            # it prints whatever it likes
            ok 2 selftests: net: second
            """);
        Assert.Equal(
            ["selftests: net: first: a", "selftests: net: first: b", "selftests: net: second"],
            parser.Cases.Select(static each => each.Name));
        Assert.Equal(1, parser.Failures);
    }

    [Fact]
    public void A_parent_that_fails_with_children_that_do_not_is_a_failure_of_its_own()
    {
        TapParser parser = Parse("TAP version 13\n1..1\n  1..1\n  ok 1 fine\nnot ok 1 parent # leaks memory\n");
        Assert.Equal([("parent: fine", TestOutcome.Pass), ("parent", TestOutcome.Fail)], parser.Cases.Select(static each => (each.Name, each.Outcome)));
        Assert.Equal("leaks memory", parser.Cases[1].Message);
    }

    [Theory]
    [InlineData("TAP version 13\n1..3\nok 1\nok 2\n", "3 tests were planned, 2 gave a result")]
    [InlineData("1..1\nok 1\n1..5\nok 1\n", "5 tests were planned, 1 gave a result")]
    [InlineData("1..1\n", "1 tests were planned, 0 gave a result")]
    [InlineData("TAP version 13\nok 1\nBail out! no disk\n", "no disk")]
    [InlineData("TAP version 13\n1..1\nok 1\nok 2\n", "1 tests were planned, 2 gave a result")]
    [InlineData("TAP version 13\nok 1\nok 2\nok 3\n1..2\n", "2 tests were planned, 3 gave a result")]
    [InlineData("TAP version 13\n1..2\nok 1\nok 1\n", "2 tests were planned, 2 gave a result, and number 1 came twice")]
    [InlineData("KTAP version 1\n1..1\n  KTAP version 1\n  1..2\n  ok 1 a\nok 1 b\n", "2 tests were planned, 1 gave a result")]
    [InlineData("TAP version 13\n1..1\n# TAP version 13\n# 1..1\n# ok 1 a\n# ok 2 b\nok 1 c\n", "1 tests were planned, 2 gave a result")]
    [InlineData("1..0 # SKIP none\nok 1\n", "0 tests were planned, 1 gave a result")]
    public void What_was_announced_and_never_came_is_an_error(string text, string message)
    {
        TapParser parser = Parse(text);
        Assert.Equal(1, parser.Failures);
        TestCase error = Assert.Single(parser.Cases, static each => each.Outcome == TestOutcome.Error);
        Assert.Equal(message, error.Message);
    }

    /// <summary>A plan may come last, or not at all; numbers may be missing, and tests come in any order.</summary>
    [Theory]
    [InlineData("TAP version 13\nok 1 a\nok 2 b\n1..2\n", 2)]
    [InlineData("KTAP version 1\nok 1 a\nok 2 b\n", 2)]
    [InlineData("TAP version 14\n1..2\nok a\nok - b\n", 2)]
    [InlineData("TAP version 13\n1..3\nok 3 c\nok 1 a\nok 2 b\n", 3)]
    [InlineData("TAP version 13\n1..1\nok 99999999999999 a\n", 1)]
    [InlineData("TAP version 14\n1..2\nok 1 a\n  ---\n  message: x\n  ...\nok 2 b\n", 2)]
    [InlineData("KTAP version 1\r\n1..1\r\nok 1 a # skip later\r\n", 1)]
    public void Forms_that_are_right_are_no_failure(string text, int total)
    {
        TapParser parser = Parse(text);
        Assert.Equal((total, 0), (parser.Total, parser.Failures));
    }

    [Fact]
    public void Programs_that_run_one_after_the_other_have_a_list_each()
    {
        TapParser parser = Parse("TAP version 13\n1..5\nok 1 a\nTAP version 13\n1..1\nok 1 b\n");
        Assert.Equal(["a", "missing results", "b"], parser.Cases.Select(static each => each.Name));
        Assert.Equal(1, parser.Failures);
    }

    [Theory]
    [InlineData("")]
    [InlineData("everything is ok\nok\nnot ok\nokay 1\n")]
    [InlineData("1..x\nTAP  version 13\n")]
    public void Other_output_is_none(string text) => Assert.Equal(0, Parse(text).Total);

    [Fact]
    public void All_skipped_is_a_skip()
    {
        TapParser parser = Parse("TAP version 13\n1..0 # SKIP no /dev/kvm\n");
        Assert.Equal([("all", TestOutcome.Skip, "SKIP no /dev/kvm")], parser.Cases.Select(static each => (each.Name, each.Outcome, each.Message)));
    }

    [Fact]
    public void Cut_anywhere_it_is_the_same_and_whatever_comes_is_bounded()
    {
        string[] words =
        [
            "ok", "not ok", " ", "1", "2", "..", "1..", "TAP version 13", "KTAP version 1", "\n", "\n", "\r\n", "# ", "  ", "-", "SKIP", "TODO", "x", "\0",
            "\u001b[1m", "Bail out!", "1..99999999999",
        ];
        Prop.ForAll(
            Gen.Elements(words).ListOf().ToArbitrary(), Gen.Choose(1, 40).ToArbitrary(),
            (pieces, step) =>
            {
                byte[] bytes = Encoding.UTF8.GetBytes(string.Concat(pieces));
                var whole = new TapParser();
                whole.Add(bytes);
                whole.Finish();
                var parts = new TapParser();
                for (int at = 0; at < bytes.Length; at += step)
                {
                    parts.Add(bytes.AsSpan(at, Math.Min(step, bytes.Length - at)));
                }

                parts.Finish();
                return whole.Cases.SequenceEqual(parts.Cases) && whole.Failures == parts.Failures
                    && whole.Cases.All(static each => !each.Name.Any(char.IsControl));
            }).Check(Config.QuickThrowOnFailure.WithMaxTest(2000));
    }

    [Fact]
    public void A_flood_of_cases_and_endless_lines_are_counted_and_not_kept()
    {
        var parser = new TapParser();
        parser.Add("TAP version 13\n"u8);
        for (int i = 0; i < TapParser.MostCases + 10; i++)
        {
            parser.Add("not ok 1 x\n"u8);
        }

        parser.Add(Encoding.ASCII.GetBytes("ok 1 " + new string('y', 1 << 20) + "\n"));
        parser.Finish();
        Assert.Equal(TapParser.MostCases, parser.Cases.Count);
        Assert.Equal((TapParser.MostCases + 11, TapParser.MostCases + 10), (parser.Total, parser.Failures));
    }

    private static TapParser Parse(string text)
    {
        var parser = new TapParser();
        parser.Add(Encoding.UTF8.GetBytes(text));
        parser.Finish();
        return parser;
    }
}
