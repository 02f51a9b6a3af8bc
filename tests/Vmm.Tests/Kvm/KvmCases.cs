using System.Diagnostics;
using System.Reflection;
using System.Runtime.ExceptionServices;
using Vmm.Tests.Shared;
using Xunit.Sdk;

namespace Vmm.Tests.Kvm;

/// <summary>Runs this assembly's tests that need /dev/kvm, one after the other, without a test platform: that would take
/// Bochs, at 50 million instructions a second, minutes to start. Verdicts are printed as <c>dotnet vstest</c> prints
/// them.</summary>
internal static class KvmCases
{
    public const string Command = "kvm-cases";

    /// <param name="filters">Only tests with one of these in their full name; all where there is none.</param>
    /// <returns>The exit code: 1 when a test failed or there was none.</returns>
    public static int Run(string[] filters)
    {
        int passed = 0, failed = 0;
        foreach ((MethodInfo method, object?[] arguments, string name, string? why) in Cases(filters))
        {
            if (why is not null)
            {
                System.Console.WriteLine($"  left out: {name}: {why}"); // no verdict: other hosts run it
                continue;
            }

            System.Console.WriteLine($"  begins: {name}");     // one that hangs is the last
            var time = Stopwatch.StartNew();
            Exception? error = Try(method, arguments);
            if (error is null)
            {
                passed++;
                System.Console.WriteLine($"  Passed {name} [{time.ElapsedMilliseconds} ms]");
            }
            else
            {
                failed++;
                System.Console.WriteLine($"  Failed {name} [{time.ElapsedMilliseconds} ms]");
                System.Console.WriteLine($"  Error Message:\n   {error.Message}\n  Stack Trace:\n{error.StackTrace}");
            }
        }

        System.Console.WriteLine($"Total tests: {passed + failed}");
        return failed == 0 && passed != 0 ? 0 : 1;
    }

    private static IEnumerable<(MethodInfo Method, object?[] Arguments, string Name, string? LeftOut)> Cases(string[] filters)
    {
        foreach (Type type in typeof(KvmCases).Assembly.GetTypes())
        {
            foreach (MethodInfo method in type.GetMethods(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly))
            {
                FactAttribute? fact = method.GetCustomAttribute<KvmFactAttribute>();
                fact ??= method.GetCustomAttribute<VtxFactAttribute>();
                fact ??= method.GetCustomAttribute<KvmWithXsaveFactAttribute>();
                fact ??= method.GetCustomAttribute<KvmTheoryAttribute>();
                string name = $"{type.FullName}.{method.Name}";
                if (fact is null || !(filters.Length == 0 || filters.Any(each => name.Contains(each, StringComparison.Ordinal))))
                {
                    continue;
                }

                string? skip = method.GetCustomAttribute<NotInBochsAttribute>()?.Why ?? fact.Skip;
                if (fact is not TheoryAttribute)
                {
                    yield return (method, [], name, skip);
                    continue;
                }

                foreach (object[] row in method.GetCustomAttributes<DataAttribute>().SelectMany(data => data.GetData(method)))
                {
                    yield return (method, row, $"{name}({string.Join(", ", row)})", skip);
                }
            }
        }
    }

    private static Exception? Try(MethodInfo method, object?[] arguments)
    {
        try
        {
            object test = Activator.CreateInstance(method.DeclaringType!)!;
            try
            {
                if (method.Invoke(test, arguments) is Task task)
                {
                    task.GetAwaiter().GetResult();
                }
            }
            finally
            {
                (test as IDisposable)?.Dispose();
            }

            return null;
        }
        catch (Exception error)
        {
            return error is TargetInvocationException { InnerException: { } inner }
                ? ExceptionDispatchInfo.Capture(inner).SourceException
                : error;
        }
    }
}
