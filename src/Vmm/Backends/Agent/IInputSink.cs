namespace Vmm.Backends.Agent;

/// <summary>Takes input for a program in the guest, as far as there is room. On the event loop's thread.</summary>
internal interface IInputSink
{
    /// <summary>Bytes of input that it has room for.</summary>
    uint InputCredit { get; }

    /// <summary>Room for its input, of which <see cref="PutInput"/> sends a part.</summary>
    Span<byte> ReserveInput();

    /// <param name="length">Bytes that were written to the room; 0 is the end of the input.</param>
    void PutInput(int length);
}
