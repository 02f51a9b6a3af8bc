using Vmm.Bench.Operations;

namespace Vmm.Tests.Bench;

/// <summary>What vmm does for every exit, request and access allocates nothing: the operations that `make bench`
/// times, each of them held to its budget.</summary>
public sealed class AllocationBudgetTests
{
    public static TheoryData<string> Names => [.. OperationList.All.Select(entry => entry.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public void Allocates_nothing(string name)
    {
        using Operation operation = OperationList.Create(name);
        Assert.Equal(0, AllocationBudget.Measure(operation));
    }

    [Fact]
    public void What_allocates_is_found()
    {
        using var wasteful = new Wasteful();
        Assert.True(AllocationBudget.Measure(wasteful) > 0);
    }

    private sealed class Wasteful : Operation
    {
        private object? _kept;

        public override void Run(int count)
        {
            for (int i = 0; i < count; i++)
            {
                // One in a thousand is enough.
                _kept = i % 1000 == 999 ? new object() : _kept;
            }
        }
    }
}
