using Vmm.Devices.Virtio;

namespace Vmm.Bench.Operations;

/// <summary>Virtqueues: a request's way through, and the walk over its descriptors by itself.</summary>
internal static class QueueOperations
{
    public const string Group = "Virtqueue";

    public static IReadOnlyList<OperationEntry> All { get; } = [.. Entries()];

    private static IEnumerable<OperationEntry> Entries()
    {
        foreach (bool packed in (bool[])[false, true])
        {
            string ring = packed ? "packed" : "split";
            yield return new OperationEntry(
                Group, $"{ring}: offer, pop, complete, publish", () => new RoundTrip(packed, 1, indirect: false));
            yield return new OperationEntry(
                Group, $"{ring}: the same, 4 indirect descriptors", () => new RoundTrip(packed, 4, indirect: true));
            foreach (int count in (int[])[1, 4, 16])
            {
                yield return new OperationEntry(
                    Group, $"{ring}: walk {count} direct", () => new Walk(packed, count, indirect: false));
                yield return new OperationEntry(
                    Group, $"{ring}: walk {count} indirect", () => new Walk(packed, count, indirect: true));
            }
        }
    }

    /// <summary>The driver's few stores are included: without them there is nothing to pop.</summary>
    private sealed class RoundTrip(bool packed, int descriptors, bool indirect) : Operation
    {
        private readonly DrivenQueue _queue = new(packed, descriptors, indirect);

        public override void Run(int count)
        {
            for (int i = 0; i < count; i++)
            {
                _queue.Offer();
                DescriptorChain chain = _queue.Pop();
                _queue.Queue.Complete(chain, 512);
                _queue.Queue.Publish();
            }
        }

        protected override void Release() => _queue.Dispose();
    }

    private sealed class Walk : Operation
    {
        private readonly DrivenQueue _queue;

        public Walk(bool packed, int descriptors, bool indirect)
        {
            _queue = new DrivenQueue(packed, descriptors, indirect);
            _queue.Offer();
        }

        public override void Run(int count)
        {
            for (int i = 0; i < count; i++)
            {
                DescriptorChain chain = _queue.Pop();
                _queue.Queue.ReturnToQueue(chain);
            }
        }

        protected override void Release() => _queue.Dispose();
    }
}
