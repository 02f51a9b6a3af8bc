using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;

namespace Vmm.Backends.Disks;

/// <summary>A disk in front of another one, with the same bytes.</summary>
internal abstract class DiskFilter : DiskNode, IDiskCompletions
{
    protected DiskFilter(DiskNode inner)
    {
        Inner = inner;
        inner.Attach(this);
    }

    public override ulong Length => Inner.Length;

    public override bool IsReadOnly => Inner.IsReadOnly;

    public override bool CanDiscard => Inner.CanDiscard;

    public override bool CanWriteZeroes => Inner.CanWriteZeroes;

    public override BlockFile File => Inner.File;

    protected DiskNode Inner { get; }

    public override string? Grow(ulong length) => Inner.Grow(length);

    public override void Submit()
    {
        Inner.Submit();
        Deliver();
    }

    public virtual void Completed(ReadOnlySpan<DiskCompletion> completions)
    {
        foreach (DiskCompletion completion in completions)
        {
            Complete(completion.Tag, completion.Result);
        }

        Deliver();
    }

    public override bool Flush() => Inner.Flush();

    public override void Dispose() => Inner.Dispose();
}
