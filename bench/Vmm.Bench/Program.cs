using Vmm.Bench;
using Vmm.Bench.Operations;

// vmm's benchmarks: see CONTRIBUTING.md. Ends with 1 when one failed or broke its allocation budget.
switch (args)
{
    case ["allocations", ..]:
        return BenchRun.CheckAllocations(args.AsSpan(1));
    case ["operations", ..]:
        return BenchRun.Operations(args.AsSpan(1));
    case ["guests", ..]:
        return BenchRun.Guests(args.AsSpan(1));
    default:
        System.Console.Error.WriteLine("bench: say which: operations, guests or allocations");
        return 1;
}
