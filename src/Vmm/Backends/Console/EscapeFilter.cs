namespace Vmm.Backends.Console;

/// <summary>Takes Ctrl-A and the key that follows it out of what is typed.</summary>
/// <param name="command">Gets that key: <c>x</c>, <c>h</c> ...</param>
internal sealed class EscapeFilter(Action<byte> command)
{
    private const byte Escape = 0x01;           // Ctrl-A
    private bool _escaped;

    /// <summary>Moves the guest's bytes to the front.</summary>
    /// <returns>How many bytes that is.</returns>
    public int Filter(Span<byte> typed)
    {
        int kept = 0;
        foreach (byte value in typed)
        {
            if (_escaped)
            {
                _escaped = false;
                if (value is Escape or (byte)'a')
                {
                    typed[kept++] = Escape;
                }
                else
                {
                    command(value);
                }
            }
            else if (value == Escape)
            {
                _escaped = true;
            }
            else
            {
                typed[kept++] = value;
            }
        }

        return kept;
    }
}
