using Vmm.Devices.Memory;
using Vmm.Tests.Shared;

namespace Vmm.Bench.Operations;

/// <summary>Guest memory: single values and pages, below the hole and above it.</summary>
internal static class MemoryOperations
{
    public const string Group = "GuestMemory";
    private const ulong Below = 0, Above = 0x1_0000_0000, RegionLength = 1 << 20;
    private const int Page = 4096;

    public static IReadOnlyList<OperationEntry> All { get; } =
    [
        new(Group, "read 4 bytes, below 4 GiB", () => new ReadValue(Below)),
        new(Group, "read 4 bytes, above 4 GiB", () => new ReadValue(Above)),
        new(Group, "write 8 bytes, below 4 GiB", () => new WriteValue(Below)),
        new(Group, "write 8 bytes, above 4 GiB", () => new WriteValue(Above)),
        new(Group, "refuse 8 bytes in the hole", () => new Refuse()),
        new(Group, "read a page", () => new CopyPage(write: false)),
        new(Group, "write a page", () => new CopyPage(write: true)),
    ];

    private abstract class WithMemory : Operation
    {
        private readonly TestMemory _memory = new((Below, RegionLength), (Above, RegionLength));

        protected GuestMemory Memory => _memory.Memory;

        protected override void Release() => _memory.Dispose();

        /// <summary>Eight-byte steps through a page, which stays in the first-level cache.</summary>
        protected static GuestAddress At(ulong start, int turn) => new(start + (((uint)turn * 8) % Page));
    }

    private sealed class ReadValue(ulong start) : WithMemory
    {
        private uint _sum;

        public override void Run(int count)
        {
            uint sum = 0;
            for (int i = 0; i < count; i++)
            {
                sum += Memory.Read<uint>(At(start, i));
            }

            _sum += sum;        // so that the reads are needed
        }
    }

    private sealed class WriteValue(ulong start) : WithMemory
    {
        public override void Run(int count)
        {
            for (int i = 0; i < count; i++)
            {
                Memory.Write(At(start, i), (ulong)i);
            }
        }
    }

    private sealed class Refuse : WithMemory
    {
        public override void Run(int count)
        {
            for (int i = 0; i < count; i++)
            {
                if (Memory.TryWrite(At(RegionLength, i), 0UL))
                {
                    throw new InvalidOperationException("there is memory in the hole");
                }
            }
        }
    }

    private sealed class CopyPage(bool write) : WithMemory
    {
        private readonly byte[] _page = new byte[Page];

        public override void Run(int count)
        {
            for (int i = 0; i < count; i++)
            {
                if (write)
                {
                    Memory.Write(new GuestAddress(Page), _page);
                }
                else
                {
                    Memory.Read(new GuestAddress(Page), _page);
                }
            }
        }
    }
}
