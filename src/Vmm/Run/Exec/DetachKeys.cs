namespace Vmm.Run.Exec;

/// <summary>Finds Ctrl-P Ctrl-Q in what is typed. A Ctrl-P waits for the next key.</summary>
internal sealed class DetachKeys
{
    private const byte ControlP = 0x10, ControlQ = 0x11;

    private bool _isHolding;

    /// <param name="typed">What was typed.</param>
    /// <param name="rest">What is not the keys; room for one byte more than that.</param>
    /// <param name="count">Bytes of the rest.</param>
    /// <returns>True where the keys came; what was typed behind them is left out.</returns>
    public bool Filter(ReadOnlySpan<byte> typed, Span<byte> rest, out int count)
    {
        count = 0;
        foreach (byte key in typed)
        {
            if (_isHolding && key == ControlQ)
            {
                return true;
            }

            if (_isHolding)
            {
                rest[count++] = ControlP;
            }

            _isHolding = key == ControlP;
            if (!_isHolding)
            {
                rest[count++] = key;
            }
        }

        return false;
    }
}
