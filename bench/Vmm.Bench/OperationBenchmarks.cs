using BenchmarkDotNet.Attributes;
using Vmm.Bench.Operations;

namespace Vmm.Bench;

/// <summary>Times the operations of one group.</summary>
public abstract class OperationBenchmarks
{
    private const int PerInvoke = 1000;
    private Operation? _operation;

    [ParamsSource(nameof(Names))]
    public string Operation { get; set; } = "";

    public IEnumerable<string> Names => OperationList.Of(Group);

    protected abstract string Group { get; }

    [GlobalSetup]
    public void SetUp() => _operation = OperationList.Create(Operation);

    [GlobalCleanup]
    public void CleanUp() => _operation?.Dispose();

    [Benchmark(OperationsPerInvoke = PerInvoke)]
    public void Time() => _operation!.Run(PerInvoke);
}

public class VirtqueueBenchmarks : OperationBenchmarks
{
    protected override string Group => QueueOperations.Group;
}

public class AddressBusBenchmarks : OperationBenchmarks
{
    protected override string Group => BusOperations.Group;
}

public class GuestMemoryBenchmarks : OperationBenchmarks
{
    protected override string Group => MemoryOperations.Group;
}

public class SerialBenchmarks : OperationBenchmarks
{
    protected override string Group => SerialOperations.Group;
}

public class ExitHandlerBenchmarks : OperationBenchmarks
{
    protected override string Group => ExitOperations.Group;
}

public class AssistBenchmarks : OperationBenchmarks
{
    protected override string Group => AssistOperations.Group;
}
