using System.Diagnostics;
using Vmm.Tests.Shared;

namespace Vmm.Tests;

/// <summary>How <c>make test</c> counts what became of its tests (scripts/outcomes.sh).</summary>
public sealed class TestRunOutcomesTests
{
    [Theory]
    [InlineData("Passed\ta", 0, 0, "1 passed, 0 failed, 0 skipped")]
    [InlineData("Passed\ta\nSkipped\tb\nNoKvm\tc\nNoVtX\td", 0, 0, "1 passed, 0 failed, 2 skipped")]
    [InlineData("Passed\ta\nFailed\tb", 0, 1, "1 passed, 1 failed, 0 skipped")]
    [InlineData("Passed\ta", 1, 1, "1 passed, 1 failed, 0 skipped")]
    [InlineData("Skipped\ta", 0, 1, "0 passed, 0 failed, 1 skipped")]
    [InlineData(null, 0, 1, "0 passed, 0 failed, 0 skipped")]
    public void A_run_is_a_success_when_all_that_had_to_run_has_passed(string? outcomes, int broken, int code, string last) =>
        Assert.Equal((code, last), Closing(outcomes, broken));

    [Fact]
    public void A_test_without_a_verdict_makes_a_run_fail_and_is_named_with_the_reason()
    {
        (int code, string said) = Closing("Passed\ta\nSkipped\tb\nNoVerdict\tC.d\tthe time of the emulated host was over", broken: 0);
        string[] lines = said.Split('\n');
        Assert.Equal(1, code);
        Assert.Equal("no verdict: C.d: the time of the emulated host was over", lines[0]);
        Assert.StartsWith("A run in which tests have no verdict is no success. Run it again", lines[1], StringComparison.Ordinal);
        Assert.Equal("1 passed, 0 failed, 1 skipped, 1 without a verdict", lines[2]);
    }

    private static (int Code, string Said) Closing(string? outcomes, int broken)
    {
        string script = $"set -euo pipefail; . '{SourceTree.Root}/scripts/outcomes.sh'; closing {broken}{(outcomes is null ? "" : " /dev/stdin")}";
        var start = new ProcessStartInfo("bash", ["-c", script]) { RedirectStandardInput = true, RedirectStandardOutput = true };
        using Process bash = Process.Start(start)!;
        bash.StandardInput.WriteLine(outcomes);
        bash.StandardInput.Close();
        string said = bash.StandardOutput.ReadToEnd();
        bash.WaitForExit();
        return (bash.ExitCode, said.TrimEnd());
    }
}
