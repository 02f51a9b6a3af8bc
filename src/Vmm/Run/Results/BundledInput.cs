namespace Vmm.Run.Results;

/// <summary>What a command got as input, as far as that is kept, so that its run can be repeated with it.</summary>
/// <param name="isTerminal">It is typed on the command's own terminal: who repeats the run types anew.</param>
internal sealed class BundledInput(bool isTerminal)
{
    public const int Most = 1 << 20;

    private readonly List<byte> _bytes = [];

    /// <summary>It was more than is kept.</summary>
    public bool IsTooLong { get; private set; }

    /// <summary>Can the run be repeated with it?</summary>
    public bool IsKept => !isTerminal && !IsTooLong;

    public void Add(ReadOnlySpan<byte> bytes)
    {
        if (isTerminal || IsTooLong)
        {
            return;
        }

        IsTooLong = _bytes.Count + bytes.Length > Most;
        if (!IsTooLong)
        {
            _bytes.AddRange(bytes);
        }
    }

    public byte[] ToArray() => [.. _bytes];
}
