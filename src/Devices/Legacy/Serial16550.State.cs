using Vmm.Devices.State;

namespace Vmm.Devices.Legacy;

/// <summary>What is saved of a serial port.</summary>
public sealed partial class Serial16550
{
    /// <inheritdoc/>
    public void Save(StateWriter state)
    {
        lock (_lock)
        {
            state.Version(1);
            state.Write("ier", (uint)_ier);
            state.Write("fcr", (uint)_fcr);
            state.Write("lcr", (uint)_lcr);
            state.Write("mcr", (uint)_mcr);
            state.Write("scr", (uint)_scr);
            state.Write("divisorLow", (uint)_divisorLow);
            state.Write("divisorHigh", (uint)_divisorHigh);
            state.Write("lineErrors", (uint)_lineErrors);
            state.Write("modemDeltas", (uint)_modemDeltas);
            state.Write("transmitterEmptied", _transmitterEmptied);
            state.Write("polled", _polled);
            state.Write("polls", _polls);
            state.Write("senderWaits", _senderWaits);
            _received.Save(state, "received");
            _wire.Save(state, "wire");
            _transmitter.Save(state, "waiting");
        }
    }

    /// <inheritdoc/>
    /// <remarks>Bytes that waited for the output wait again: call <see cref="OutputDrained"/> once the machine runs.
    /// </remarks>
    public void Load(StateReader state)
    {
        lock (_lock)
        {
            state.Version(1);
            _ier = (byte)state.Bits("ier", IerReceived | IerTransmitterEmpty | IerLineStatus | IerModemStatus);
            _fcr = (byte)state.Bits("fcr", 0xc0 | FcrEnable);
            _lcr = state.UInt8("lcr");
            _mcr = (byte)state.Bits("mcr", McrMask);
            _scr = state.UInt8("scr");
            _divisorLow = state.UInt8("divisorLow");
            _divisorHigh = state.UInt8("divisorHigh");
            _lineErrors = (byte)state.Bits("lineErrors", LsrOverrun | LsrBreak);
            _modemDeltas = (byte)state.Bits("modemDeltas", 0x0f);
            _transmitterEmptied = state.Boolean("transmitterEmptied");
            _polled = state.Boolean("polled");
            _polls = state.UInt8("polls", PollsThatMeanListening - 1);
            _senderWaits = state.Boolean("senderWaits");
            _received.Load(state, "received");
            _wire.Load(state, "wire");
            _transmitter.Load(state, "waiting");
            if (!FifosEnabled && _fcr != 0)
            {
                throw state.Refuse("fcr", "has a trigger level while the FIFOs are off");
            }

            UpdateInterrupt();
        }
    }
}
