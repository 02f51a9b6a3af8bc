using Iced.Intel;
using Vmm.Devices.Acpi;
using Vmm.Tests.Kvm;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Guest.Tests.Harness;

/// <summary>Guests of a few instructions: for what needs no Linux. They start in milliseconds.</summary>
internal static class SmallGuests
{
    /// <summary>The first thing that they say, to tell that they run.</summary>
    public const string Ready = "ready\r\n";

    private const ushort Data = 0x3f8, FifoControl = 0x3fa, LineStatus = 0x3fd;
    private const byte ReceivedBit = 1, TransmitterEmptyBit = 0x20;
    private const int FifoDepth = 16;
    private const uint Buffer = 0x20_0000;

    /// <summary>Says that it is ready, waits for a key and does what follows.</summary>
    public static TestGuest OnKey(Action<Assembler> then, Action<Assembler>? before = null) => new(code =>
    {
        before?.Invoke(code);
        Say(code, Ready);
        Label poll = code.CreateLabel();
        code.Label(ref poll);
        code.mov(dx, LineStatus);
        code.@in(al, dx);
        code.test(al, ReceivedBit);
        code.jz(poll);
        then(code);
    });

    /// <summary>As <see cref="OnKey"/>, after it has told ACPI that it listens to the power button (PM1_EN, ACPI 4.8.3.1.2).
    /// It does nothing when that is pressed.</summary>
    public static TestGuest OnKeyWithPowerButton(Action<Assembler> then) => OnKey(then, code =>
    {
        code.mov(dx, PowerManagement.EventPort + 2);
        code.mov(ax, 1 << 8);
        code.@out(dx, ax);
    });

    /// <summary>Says that it is ready and spins.</summary>
    public static TestGuest Endless() => new(code =>
    {
        Say(code, Ready);
        Label spin = code.CreateLabel();
        code.Label(ref spin);
        code.pause();
        code.jmp(spin);
    });

    /// <summary>Says that it is ready and halts for ever, which costs the host nothing.</summary>
    public static TestGuest Idle() => new(code =>
    {
        Say(code, Ready);
        Label halt = code.CreateLabel();
        code.Label(ref halt);
        code.hlt();
        code.jmp(halt);
    });

    /// <summary>Says that it is ready and crashes.</summary>
    public static TestGuest Crashing() => new(code =>
    {
        Say(code, Ready);
        Crash(code);
    });

    /// <summary>Says the same line for ever.</summary>
    public static TestGuest Chatter() => new(code =>
    {
        Label again = code.CreateLabel();
        code.Label(ref again);
        Say(code, Ready);
        code.jmp(again);
    });

    /// <summary>Sends the numbers from count down to 1, each four times as 32 bits, as fast as the port takes them,
    /// and exits.</summary>
    public static TestGuest Countdown(int count, byte exitCode) => new(code =>
    {
        Label next = code.CreateLabel();
        code.mov(dx, FifoControl);
        code.mov(al, 1);
        code.@out(dx, al);
        code.mov(ebp, count);
        code.Label(ref next);
        code.mov(edi, Buffer);
        code.mov(eax, ebp);
        code.mov(ecx, FifoDepth / sizeof(uint));
        code.rep.stosd();
        WaitForTransmitter(code);
        code.mov(dx, Data);
        code.mov(esi, Buffer);
        code.mov(ecx, FifoDepth);
        code.rep.outsb();
        code.dec(ebp);
        code.jnz(next);
        Exit(code, exitCode);
    });

    /// <summary>Ends the machine through the exit port.</summary>
    public static void Exit(Assembler code, byte exitCode)
    {
        code.mov(al, exitCode);
        code.@out(0xf4, al);
    }

    /// <summary>Ends the machine as <c>reboot=k</c> does.</summary>
    public static void Reset(Assembler code)
    {
        code.mov(al, 0xfe);
        code.@out(0x64, al);
    }

    /// <summary>An invalid instruction without a table of handlers: a triple fault.</summary>
    public static void Crash(Assembler code) => code.ud2();

    public static void Say(Assembler code, string text)
    {
        foreach (char letter in text)
        {
            WaitForTransmitter(code);
            code.mov(dx, Data);
            code.mov(al, (byte)letter);
            code.@out(dx, al);
        }
    }

    private static void WaitForTransmitter(Assembler code)
    {
        Label poll = code.CreateLabel();
        code.mov(dx, LineStatus);
        code.Label(ref poll);
        code.@in(al, dx);
        code.test(al, TransmitterEmptyBit);
        code.jz(poll);
    }
}
