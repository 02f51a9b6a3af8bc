using Vmm.Devices.Bus;
using Vmm.Devices.State;

namespace Vmm.Devices.Acpi;

/// <summary>ACPI's fixed power-management registers (ACPI 6.4, section 4.8.3): the power button, soft-off, and the
/// power-management timer; and its general-purpose events (section 4.8.4.1).</summary>
/// <remarks>
/// <code>
/// 0 PM1_STS  2 PM1_EN    8 PWRBTN, the only event that happens here
/// 4 PM1_CNT              0 SCI_EN, always on | 12..10 SLP_TYP | 13 SLP_EN
/// 8 PM_TMR               24 bits at 3.579545 MHz
/// 16 GPE0_STS 18 GPE0_EN 16 events, of which number 5 tells of a new VM generation ID
/// </code>
/// The machine is always in ACPI mode: the FADT says so with SMI_CMD 0. The timer's carry (TMR_STS) is not reported;
/// software that reads the timer at least every 2.3 seconds, as Linux does, does not need it. Safe to use from any thread.
/// </remarks>
public sealed class PowerManagement : IBusDevice, ISavedState
{
    /// <summary>The block's first port.</summary>
    public const ushort Port = 0x600;

    /// <summary>Ports in the block.</summary>
    public const int PortCount = 20;

    /// <summary>For the FADT: PM1a_EVT_BLK, 4 bytes.</summary>
    public const ushort EventPort = Port;

    /// <summary>For the FADT: PM1a_CNT_BLK, 2 bytes.</summary>
    public const ushort ControlPort = Port + 4;

    /// <summary>For the FADT: PM_TMR_BLK, 4 bytes, without TMR_VAL_EXT.</summary>
    public const ushort TimerPort = Port + 8;

    /// <summary>For the FADT: GPE0_BLK, 4 bytes.</summary>
    public const ushort GeneralEventPort = Port + 16;

    /// <summary>For the DSDT: the bit of GPE0 that tells of a new <see cref="GenerationId"/>.</summary>
    public const int GenerationEvent = 5;

    /// <summary>For the FADT: SCI_INT, level-triggered.</summary>
    public const int SciIrq = 9;

    /// <summary>For the DSDT: SLP_TYPa of \_S5.</summary>
    public const byte SoftOffSleepType = 5;

    /// <summary>Hz.</summary>
    public const long TimerFrequency = 3_579_545;

    private const ushort PowerButton = 1 << 8;
    private const ushort Enables = 1 << 0 | 1 << 5 | PowerButton | 1 << 9 | 1 << 10;    // those that exist in PM1_EN
    private const ushort SciEnabled = 1 << 0, BusMasterReload = 1 << 1, SleepEnable = 1 << 13;
    private const int SleepTypeShift = 10, SleepTypeMask = 7;
    private const ushort Events = 1 << GenerationEvent;                                 // those that happen
    private const int ControlStored = BusMasterReload | (SleepTypeMask << SleepTypeShift);
    private const uint TimerMask = 0xff_ffff;

    private const long NanosecondsPerSecond = 1_000_000_000;
    private const ulong MostNanoseconds = 100UL * 366 * 86_400 * NanosecondsPerSecond;      // a century

    private readonly Lock _lock = new();
    private readonly IInterruptLine _sci;
    private readonly IPowerControl _power;
    private readonly TimeProvider _clock;
    private long _started;
    private ushort _status, _enable, _control, _eventStatus, _eventEnable;

    /// <param name="sci">Held up while an enabled event is pending.</param>
    /// <param name="power">Called when the guest powers itself off.</param>
    /// <param name="clock">Its timestamps drive the timer.</param>
    public PowerManagement(IInterruptLine sci, IPowerControl power, TimeProvider clock)
    {
        _sci = sci;
        _power = power;
        _clock = clock;
        _started = clock.GetTimestamp();
    }

    public string Name => "ACPI";

    /// <summary>Presses the power button. A guest that handles ACPI's power button event shuts itself down.</summary>
    /// <returns>False when the guest has not enabled the button's event: nothing will happen.</returns>
    public bool PressPowerButton()
    {
        lock (_lock)
        {
            _status |= PowerButton;
            UpdateInterrupt();
            return (_enable & PowerButton) != 0;
        }
    }

    /// <summary>Notifies the guest that its generation ID has changed.</summary>
    public void NotifyNewGeneration()
    {
        lock (_lock)
        {
            _eventStatus |= 1 << GenerationEvent;
            UpdateInterrupt();
        }
    }

    public void Read(ulong offset, Span<byte> data)
    {
        lock (_lock)
        {
            uint timer = Timer();                           // read once: all four bytes belong to the same moment
            for (int i = 0; i < data.Length && offset + (ulong)i < PortCount; i++)
            {
                int register = (int)offset + i;
                int shift = 8 * (register & 1);
                data[i] = (byte)(((register & ~1) switch
                {
                    0 => _status,
                    2 => _enable,
                    4 => (uint)_control | SciEnabled,
                    8 => timer,
                    10 => timer >> 16,
                    16 => _eventStatus,
                    18 => _eventEnable,
                    _ => 0,
                }) >> shift);
            }
        }
    }

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        bool off = false;
        lock (_lock)
        {
            for (int i = 0; i < data.Length && offset + (ulong)i < PortCount; i++)
            {
                int register = (int)offset + i;
                int shift = 8 * (register & 1);
                int value = data[i] << shift, kept = 0xff00 >> shift;
                switch (register & ~1)
                {
                    case 0:
                        _status &= (ushort)~value;
                        break;
                    case 2:
                        _enable = (ushort)(((_enable & kept) | value) & Enables);
                        break;
                    case 4:
                        _control = (ushort)(((_control & kept) | value) & ControlStored);
                        off |= (value & SleepEnable) != 0
                            && ((_control >> SleepTypeShift) & SleepTypeMask) == SoftOffSleepType;
                        break;
                    case 16:
                        _eventStatus &= (ushort)~value;
                        break;
                    case 18:
                        _eventEnable = (ushort)((_eventEnable & kept) | value);
                        break;
                }
            }

            UpdateInterrupt();
        }

        if (off)
        {
            _power.RequestPowerOff();
        }
    }

    /// <inheritdoc/>
    public void Save(StateWriter state)
    {
        lock (_lock)
        {
            state.Version(2);
            state.Write("status", (uint)_status);
            state.Write("enable", (uint)_enable);
            state.Write("control", (uint)_control);
            state.Write("eventStatus", (uint)_eventStatus);
            state.Write("eventEnable", (uint)_eventEnable);
            state.Write("timerNanoseconds", (ulong)Scale(_clock.GetTimestamp() - _started, _clock.TimestampFrequency, NanosecondsPerSecond));
        }
    }

    /// <inheritdoc/>
    /// <remarks>The timer goes on from where it was.</remarks>
    public void Load(StateReader state)
    {
        lock (_lock)
        {
            bool hasEvents = state.Version(least: 1, most: 2) > 1;
            _status = (ushort)state.Bits("status", PowerButton);
            _enable = (ushort)state.Bits("enable", Enables);
            _control = (ushort)state.Bits("control", ControlStored);
            _eventStatus = hasEvents ? (ushort)state.Bits("eventStatus", Events) : (ushort)0;
            _eventEnable = state.UInt16("eventEnable");
            long elapsed = (long)state.UInt64("timerNanoseconds", most: MostNanoseconds);
            _started = _clock.GetTimestamp() - Scale(elapsed, NanosecondsPerSecond, _clock.TimestampFrequency);
            UpdateInterrupt();
        }
    }

    public string? RegisterName(ulong offset, bool write) => offset switch
    {
        < 2 => "PM1_STS",
        < 4 => "PM1_EN",
        < 6 => "PM1_CNT",
        >= 8 and < 12 => "PM_TMR",
        16 or 17 => "GPE0_STS",
        18 or 19 => "GPE0_EN",
        _ => null,
    };

    private uint Timer() =>
        (uint)Scale(_clock.GetTimestamp() - _started, _clock.TimestampFrequency, TimerFrequency) & TimerMask;

    /// <summary>From ticks of one frequency to ticks of another, without overflow for a century.</summary>
    private static long Scale(long ticks, long from, long to)
    {
        (long seconds, long rest) = Math.DivRem(ticks, from);
        return (seconds * to) + (rest * to / from);
    }

    private void UpdateInterrupt() => _sci.SetLevel(((_status & _enable) | (_eventStatus & _eventEnable)) != 0);
}
