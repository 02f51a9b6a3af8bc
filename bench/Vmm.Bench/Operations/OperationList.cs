namespace Vmm.Bench.Operations;

/// <summary>The one list of operations: what `make bench` times is what the tests hold to its budget.</summary>
internal static class OperationList
{
    public static IReadOnlyList<OperationEntry> All { get; } =
    [
        .. QueueOperations.All,
        .. BusOperations.All,
        .. MemoryOperations.All,
        .. SerialOperations.All,
        .. ExitOperations.All,
        .. AssistOperations.All,
    ];

    public static IEnumerable<string> Of(string group) =>
        All.Where(entry => entry.Group == group).Select(entry => entry.Name);

    public static Operation Create(string name) => All.Single(entry => entry.Name == name).Create();
}
