using Vmm.Devices.Bus;
using Vmm.Devices.State;

namespace Vmm.Devices.Legacy;

/// <summary>The battery-backed clock and memory at ports 0x70 (index) and 0x71 (data): an MC146818 with 128 bytes.</summary>
/// <remarks>The clock runs on the host's, in UTC, at an offset once the guest has set it. Alarm registers hold what is
/// written to them, but no interrupt is ever raised: tell the guest so by leaving IRQ 8 out of its description
/// (drivers then do not wait for one).</remarks>
public sealed class Cmos : IBusDevice, ISavedState
{
    public const ushort Port = 0x70;
    public const int PortCount = 2;

    /// <summary>Where the century is, for ACPI's FADT.</summary>
    public const byte CenturyRegister = 0x32;

    private const int Seconds = 0x00, Minutes = 0x02, Hours = 0x04, DayOfWeek = 0x06, DayOfMonth = 0x07, Month = 0x08,
        Year = 0x09, StatusA = 0x0a, StatusB = 0x0b, StatusC = 0x0c, StatusD = 0x0d, Century = CenturyRegister;

    private const byte UpdateInProgress = 0x80;                             // A
    private const byte Set = 0x80, Binary = 0x04, TwentyFourHours = 0x02;   // B
    private const byte Afternoon = 0x80;                                    // in the hours, when counting to twelve

    /// <summary>A guest reads the time register by register. All registers show the time at which it read the seconds or the
    /// update flag, which drivers read first, for this long.</summary>
    private static readonly TimeSpan ReadingTime = TimeSpan.FromMilliseconds(10);

    private readonly Lock _lock = new();
    private readonly TimeProvider _clock;
    private readonly byte[] _bytes = new byte[128];
    private TimeSpan _offset;
    private DateTime _shown;
    private byte _index;

    /// <param name="clock">Wall-clock time.</param>
    /// <param name="memoryBelow4G">Bytes of memory from address 0.</param>
    /// <param name="memoryAbove4G">Bytes of memory from 4 GiB.</param>
    public Cmos(TimeProvider clock, ulong memoryBelow4G, ulong memoryAbove4G)
    {
        const ulong KiB = 1024, MiB = 1024 * KiB;
        _clock = clock;
        _bytes[StatusA] = 0x26;                             // 32.768 kHz, 1024 Hz
        _bytes[StatusB] = TwentyFourHours;
        _bytes[StatusD] = 0x80;                             // the battery is fine
        _bytes[0x14] = 0x02;                                // equipment: an FPU, no diskettes

        Store(0x15, 2, 640);                                                            // KiB below 1 MiB
        ulong extended = Math.Min(Above(memoryBelow4G, MiB) / KiB, ushort.MaxValue);    // KiB from 1 MiB
        Store(0x17, 2, extended);
        Store(0x30, 2, extended);
        Store(0x34, 2, Math.Min(Above(memoryBelow4G, 16 * MiB) / (64 * KiB), ushort.MaxValue));
        Store(0x5b, 3, Math.Min(memoryAbove4G / (64 * KiB), 0xff_ffff));

        static ulong Above(ulong memory, ulong start) => memory > start ? memory - start : 0;
    }

    public string Name => "CMOS";

    public void Read(ulong offset, Span<byte> data)
    {
        lock (_lock)
        {
            for (int i = 0; i < data.Length && offset + (ulong)i < PortCount; i++)
            {
                data[i] = offset + (ulong)i == 0 ? _index : ReadRegister(_index & 0x7f);
            }
        }
    }

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            for (int i = 0; i < data.Length && offset + (ulong)i < PortCount; i++)
            {
                if (offset + (ulong)i == 0)
                {
                    _index = data[i];                       // bit 7 would mask NMIs; no device sends one
                }
                else
                {
                    WriteRegister(_index & 0x7f, data[i]);
                }
            }
        }
    }

    public string? RegisterName(ulong offset, bool write) => offset == 0 ? "Index" : "Data";

    /// <inheritdoc/>
    public void Save(StateWriter state)
    {
        lock (_lock)
        {
            state.Version(1);
            state.Write("index", (uint)_index);
            state.Write("bytes", _bytes);
            state.Write("offset", _offset.Ticks);
            state.Write("shown", _shown.Ticks);
        }
    }

    /// <inheritdoc/>
    /// <remarks>The clock follows the host's; the offset that the guest set is kept.</remarks>
    public void Load(StateReader state)
    {
        const long Longest = 10_000 * 366 * TimeSpan.TicksPerDay;       // all the years that a DateTime has
        lock (_lock)
        {
            state.Version(1);
            _index = state.UInt8("index");
            byte[] bytes = state.Bytes("bytes", _bytes.Length, _bytes.Length);
            if ((bytes[StatusA] & UpdateInProgress) != 0 || bytes[StatusC] != _bytes[StatusC] || bytes[StatusD] != _bytes[StatusD])
            {
                throw state.Refuse("bytes", "has a status register that no guest can have set");
            }

            bytes.CopyTo(_bytes, 0);
            _offset = new TimeSpan(state.Int64("offset", -Longest, Longest));
            _shown = new DateTime(state.Int64("shown", 0, DateTime.MaxValue.Ticks), DateTimeKind.Utc);
        }
    }

    private byte ReadRegister(int register)
    {
        bool stopped = (_bytes[StatusB] & Set) != 0;
        if (!stopped && (IsTime(register) || register == StatusA))
        {
            ShowTime(now: register is Seconds or StatusA);
        }

        return register == StatusC ? (byte)0 : _bytes[register];
    }

    private void WriteRegister(int register, byte value)
    {
        bool stopped = (_bytes[StatusB] & Set) != 0;
        switch (register)
        {
            case StatusA:
                _bytes[StatusA] = (byte)(value & ~UpdateInProgress);
                break;
            case StatusB:
                if (!stopped)
                {
                    ShowTime(now: true);
                }

                _bytes[StatusB] = value;
                _shown = default;                           // it may be shown in another form now
                if (stopped && (value & Set) == 0)
                {
                    TakeTime();
                }

                break;
            case StatusC or StatusD:
                break;
            case int time when IsTime(time) && !stopped:
                ShowTime(now: true);
                _bytes[time] = value;
                TakeTime();
                break;
            default:
                _bytes[register] = value;
                break;
        }
    }

    private static bool IsTime(int register) =>
        register is Seconds or Minutes or Hours or DayOfWeek or DayOfMonth or Month or Year or Century;

    private void ShowTime(bool now)
    {
        DateTime time = _clock.GetUtcNow().UtcDateTime;
        time = _offset <= DateTime.MaxValue - time && _offset >= DateTime.MinValue - time ? time + _offset : time;
        if (!now && time - _shown < ReadingTime && time >= _shown)
        {
            return;
        }

        _shown = time;
        bool halves = (_bytes[StatusB] & TwentyFourHours) == 0;
        int hour = halves ? ((time.Hour + 11) % 12) + 1 : time.Hour;
        _bytes[Seconds] = Encode(time.Second);
        _bytes[Minutes] = Encode(time.Minute);
        _bytes[Hours] = (byte)(Encode(hour) | (halves && time.Hour >= 12 ? Afternoon : 0));
        _bytes[DayOfWeek] = Encode((int)time.DayOfWeek + 1);
        _bytes[DayOfMonth] = Encode(time.Day);
        _bytes[Month] = Encode(time.Month);
        _bytes[Year] = Encode(time.Year % 100);
        _bytes[Century] = Encode(time.Year / 100);
    }

    /// <summary>The guest has set the clock. A date that does not exist is ignored: the clock keeps its time.</summary>
    private void TakeTime()
    {
        byte hours = _bytes[Hours];
        int hour = Decode(hours);
        if ((_bytes[StatusB] & TwentyFourHours) == 0)
        {
            hour = (Decode((byte)(hours & ~Afternoon)) % 12) + ((hours & Afternoon) != 0 ? 12 : 0);
        }

        int year = (Decode(_bytes[Century]) * 100) + Decode(_bytes[Year]);
        int month = Decode(_bytes[Month]), day = Decode(_bytes[DayOfMonth]);
        int minute = Decode(_bytes[Minutes]), second = Decode(_bytes[Seconds]);
        if (year is >= 1 and <= 9999 && month is >= 1 and <= 12 && day >= 1 && day <= DateTime.DaysInMonth(year, month)
            && hour < 24 && minute < 60 && second < 60)
        {
            var time = new DateTime(year, month, day, hour, minute, second, DateTimeKind.Utc);
            _offset = time - _clock.GetUtcNow().UtcDateTime;
        }
    }

    private byte Encode(int value) =>
        (byte)((_bytes[StatusB] & Binary) != 0 ? value : (value / 10 << 4) | (value % 10));

    private int Decode(byte value) =>
        (_bytes[StatusB] & Binary) != 0 ? value : ((value >> 4) * 10) + (value & 0x0f);

    private void Store(int register, int bytes, ulong value)
    {
        for (int i = 0; i < bytes; i++)
        {
            _bytes[register + i] = (byte)(value >> (8 * i));
        }
    }
}
