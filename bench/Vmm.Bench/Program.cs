using Vmm.Bench;
using Vmm.Bench.Operations;

// vmm's benchmarks: see CONTRIBUTING.md. Ends with 1 when one failed or broke its allocation budget.
return args is ["allocations", ..] ? BenchRun.CheckAllocations(args.AsSpan(1)) : BenchRun.Run(args);
