using System.Diagnostics;
using Vmm.Host;
using Vmm.Run.Results;

namespace Vmm.Tests.Run;

/// <summary>What <c>--bundle</c> leaves for who repeats a run that failed.</summary>
public sealed class FailureBundleTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-bundle-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>With a shell in vmm's place: its directory, variables, words and input are those of the run.</summary>
    [Fact]
    public void The_script_of_a_bundle_repeats_the_run_with_all_that_it_had()
    {
        File.WriteAllBytes(At("stdin"), [0, 1, 255, (byte)'\n']);
        string words = "pwd; printf '%s|' \"$@\" \"$KEEP\" \"$HOME\"; od -An -tx1";
        string script = FailureBundle.Script(new OwnCommandLine(["/bin/sh", "-c", words, "vmm"], ["run", "--", "it's; $(exit)", "", "a\nb"]), ["KEEP", "odd name"], At("stdin"));
        File.WriteAllText(At("script"), script);
        var start = new ProcessStartInfo("/bin/sh", [At("script")]) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["KEEP"] = "kept";
        start.Environment["HOME"] = "/elsewhere";
        Assert.Equal(
            (0, $"{Environment.CurrentDirectory}\nrun|--|it's; $(exit)||a\nb||{Environment.GetEnvironmentVariable("HOME")}| 00 01 ff 0a\n", ""), Run(start));

        // KEEP was not set for the run; a variable that was has to be given again, and its value is nowhere.
        Environment.SetEnvironmentVariable("VMM_TEST_SECRET", "secret");
        script = FailureBundle.Script(new OwnCommandLine(["/bin/sh", "-c", "echo $VMM_TEST_SECRET"], []), ["VMM_TEST_SECRET"], input: null, isTooLong: true);
        Assert.DoesNotContain("secret", script, StringComparison.Ordinal);
        Assert.Contains("# Its input had more than 1 MiB", script, StringComparison.Ordinal);
        File.WriteAllText(At("script"), script);
        start.Environment["VMM_TEST_SECRET"] = "again";
        Assert.Equal((0, "again\n", ""), Run(start));
        start.Environment.Remove("VMM_TEST_SECRET");
        (int code, string output, string errors) = Run(start);
        Assert.True(code != 0 && output.Length == 0 && errors.Contains("VMM_TEST_SECRET: was given to the run by --env", StringComparison.Ordinal), errors);
        Environment.SetEnvironmentVariable("VMM_TEST_SECRET", null);

        static (int Code, string Output, string Errors) Run(ProcessStartInfo start)
        {
            using Process process = Process.Start(start)!;
            Task<string> errors = process.StandardError.ReadToEndAsync();
            string output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return (process.ExitCode, output, errors.GetAwaiter().GetResult());
        }
    }

    [Fact]
    public void Input_is_kept_whole_or_not_at_all()
    {
        var input = new BundledInput(isTerminal: false);
        input.Add(new byte[BundledInput.Most]);
        Assert.True(input.IsKept);
        input.Add([1]);
        Assert.Equal((false, true), (input.IsKept, input.IsTooLong));
        Assert.False(new BundledInput(isTerminal: true).IsKept);
    }

    private string At(string name) => Path.Combine(_folder, name);
}
