namespace Vmm.Bench.Operations;

/// <summary>Something that vmm does for every exit, request or access, ready to be done again and again. Its
/// allocation budget is 0 bytes: see <see cref="AllocationBudget"/>.</summary>
/// <remarks>It loops itself, so that what is timed is the thing and not the call of an abstract method.</remarks>
internal abstract class Operation : IDisposable
{
    public abstract void Run(int count);

    public void Dispose() => Release();

    protected virtual void Release()
    {
    }
}

/// <summary>An operation by name.</summary>
/// <param name="Group">The benchmark class that times it.</param>
/// <param name="Name">Unique within all groups.</param>
/// <param name="Create">Makes it ready to run.</param>
internal sealed record OperationEntry(string Group, string Name, Func<Operation> Create)
{
    public override string ToString() => Name;
}
