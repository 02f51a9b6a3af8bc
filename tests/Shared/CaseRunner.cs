using System.Globalization;
using System.Reflection;
using Xunit.Abstractions;
using Xunit.Sdk;

namespace Vmm.Tests.Shared;

/// <summary>Runs tests of an assembly by name, without the test platform, whose start takes longer than most tests in an emulated
/// host. Several processes may share one list: each takes the next class that no other has taken. Verdicts are printed as
/// <c>dotnet vstest</c> prints them.</summary>
internal static class CaseRunner
{
    public const string Command = "cases";

    /// <param name="assembly">The one whose tests are named.</param>
    /// <param name="list">A file with the full name of a test method in each line.</param>
    /// <param name="claims">A directory in which each class that is taken has a file.</param>
    /// <returns>The exit code: 1 when a test failed.</returns>
    public static int Run(Assembly assembly, string list, string claims)
    {
        // The classes with most tests take longest, as a rule: begun last they would keep one process busy alone.
        var classes = File.ReadLines(list).Where(static name => name.Length > 0)
            .GroupBy(static name => name[..name.LastIndexOf('.')]).OrderByDescending(static tests => tests.Count());
        using var framework = new XunitTestFramework(new Verdicts());
        using ITestFrameworkDiscoverer discoverer = framework.GetDiscoverer(Reflector.Wrap(assembly));
        using ITestFrameworkExecutor executor = framework.GetExecutor(assembly.GetName());
        int total = 0, bad = 0;
        foreach (var tests in classes)
        {
            if (!TryClaim(Path.Combine(claims, tests.Key)))
            {
                continue;
            }

            using var found = new Cases([.. tests]);
            discoverer.Find(tests.Key, includeSourceInformation: false, found, new Options());
            found.Wait();
            using var verdicts = new Verdicts();
            executor.RunTests(found.Found, verdicts, new Options());
            verdicts.Wait();
            total += verdicts.Total;
            bad += verdicts.Bad;
        }

        System.Console.WriteLine($"Total tests: {total}");
        return bad == 0 ? 0 : 1;
    }

    private static bool TryClaim(string path)
    {
        try
        {
            new FileStream(path, FileMode.CreateNew).Dispose();
            return true;
        }
        catch (IOException) when (File.Exists(path))
        {
            return false;
        }
    }

    /// <summary>One test after the other: the host has one processor.</summary>
    private sealed class Options : ITestFrameworkDiscoveryOptions, ITestFrameworkExecutionOptions
    {
        private readonly Dictionary<string, object?> _values = new()
        {
            ["xunit.execution.DisableParallelization"] = true,
            ["xunit.execution.SynchronousMessageReporting"] = true,
        };

        public TValue GetValue<TValue>(string name) => _values.TryGetValue(name, out object? value) ? (TValue)value! : default!;

        public void SetValue<TValue>(string name, TValue value) => _values[name] = value;
    }

    private sealed class Cases(HashSet<string> names) : LongLivedMarshalByRefObject, IMessageSink, IDisposable
    {
        private readonly ManualResetEventSlim _complete = new();

        public List<ITestCase> Found { get; } = [];

        public void Wait() => _complete.Wait();

        public void Dispose() => _complete.Dispose();

        public bool OnMessage(IMessageSinkMessage message)
        {
            switch (message)
            {
                case ITestCaseDiscoveryMessage { TestMethod: { } method } each
                    when names.Contains($"{method.TestClass.Class.Name}.{method.Method.Name}"):
                    Found.Add(each.TestCase);
                    break;
                case IDiscoveryCompleteMessage:
                    _complete.Set();
                    break;
            }

            return true;
        }
    }

    private sealed class Verdicts : LongLivedMarshalByRefObject, IMessageSink, IDisposable
    {
        private readonly ManualResetEventSlim _complete = new();

        public int Total { get; private set; }

        /// <summary>Tests that failed, and fixtures that could not be taken down.</summary>
        public int Bad { get; private set; }

        public void Wait() => _complete.Wait();

        public void Dispose() => _complete.Dispose();

        public bool OnMessage(IMessageSinkMessage message)
        {
            switch (message)
            {
                case ITestStarting starting:
                    System.Console.WriteLine($"  begins: {starting.Test.DisplayName}");     // one that hangs is the last
                    break;
                case ITestPassed passed:
                    Tell("Passed", passed.Test.DisplayName, passed.ExecutionTime);
                    break;
                case ITestSkipped skipped:
                    Tell("Skipped", skipped.Test.DisplayName, 0);
                    System.Console.WriteLine($"  {skipped.Reason}");
                    break;
                case ITestFailed failed:
                    Fail(failed.Test.DisplayName, failed.ExecutionTime, failed);
                    break;
                case IFailureInformation failure:
                    Fail(message.GetType().Name, 0, failure);
                    break;
                case IDiagnosticMessage diagnostic:
                    System.Console.WriteLine($"  {diagnostic.Message}");
                    break;
                case ITestAssemblyFinished:
                    _complete.Set();
                    break;
            }

            return true;
        }

        private void Tell(string verdict, string name, decimal seconds)
        {
            Total++;
            string time = seconds < 1
                ? string.Create(CultureInfo.InvariantCulture, $"{seconds * 1000:0} ms")
                : string.Create(CultureInfo.InvariantCulture, $"{seconds:0} s");

            // A guest's output may have left the cursor in the middle of a line.
            System.Console.WriteLine($"\n  {verdict} {name} [{time}]");
        }

        private void Fail(string name, decimal seconds, IFailureInformation failure)
        {
            Bad++;
            Tell("Failed", name, seconds);
            System.Console.WriteLine(
                $"  Error Message:\n   {ExceptionUtility.CombineMessages(failure)}\n"
                + $"  Stack Trace:\n{ExceptionUtility.CombineStackTraces(failure)}");
        }
    }
}
