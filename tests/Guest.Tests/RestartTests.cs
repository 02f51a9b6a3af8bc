using System.Globalization;
using Iced.Intel;
using Vmm.Guest.Tests.Harness;
using Vmm.Machines;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Guest.Tests;

/// <summary>--on-reboot restart: a new machine in the same process.</summary>
public sealed class RestartTests
{
    private const ushort Data = 0x3f8, LineStatus = 0x3fd;

    /// <summary>The guest prints what memory holds, changes it, and takes one key: any but 'x' restarts it.</summary>
    private static TestGuest Reader() => new(code =>
    {
        Label poll = code.CreateLabel(), over = code.CreateLabel();
        code.mov(edi, 0x20_0000);
        code.mov(bl, __byte_ptr[rdi]);
        code.mov(__byte_ptr[rdi], 7);
        code.add(bl, (byte)'0');
        code.mov(dx, Data);
        code.mov(al, bl);
        code.@out(dx, al);
        code.mov(dx, LineStatus);
        code.Label(ref poll);
        code.@in(al, dx);
        code.test(al, 1);
        code.jz(poll);
        code.mov(dx, Data);
        code.@in(al, dx);
        code.@out(dx, al);
        code.cmp(al, (byte)'x');
        code.je(over);
        SmallGuests.Reset(code);
        code.hlt();
        code.Label(ref over);
        SmallGuests.Exit(code, 42);
    });

    [KvmFact]
    public void Each_restart_begins_with_clean_memory_and_continues_the_input()
    {
        using TestGuest guest = Reader();
        using VmmProcess vmm = VmmProcess.Start("--kernel", guest.Path, "--mem", "32M", "--on-reboot", "restart");
        string said = "";
        foreach (char key in "abcdefghx")
        {
            vmm.Output.WaitFor("0");
            vmm.Type(key.ToString());
            vmm.Output.WaitFor(key.ToString());
            said += $"0{key}";
        }

        Assert.Equal(new VmmProcess.Ended(42, said, ""), vmm.WaitForEnd());
    }

    [KvmFact]
    public void Thirty_restarts_leave_no_descriptor_and_no_thread_behind()
    {
        using TestGuest guest = Reader();
        using VmmProcess vmm = VmmProcess.Start("--kernel", guest.Path, "--mem", "32M", "--on-reboot", "restart");
        (int Files, int Threads) before = default;
        for (int life = 0; life < 30; life++)
        {
            vmm.Output.WaitFor("0");
            if (life == 2)
            {
                before = Counts(vmm.Id);
            }

            vmm.Type("a");
            vmm.Output.WaitFor("a");
        }

        vmm.Output.WaitFor("0");
        (int files, int threads) = Counts(vmm.Id);
        Assert.InRange(files, 1, before.Files + 1);
        Assert.InRange(threads, 1, before.Threads + 2);
        vmm.Type("x");
        Assert.Equal(42, vmm.WaitForEnd().Code);

        static (int Files, int Threads) Counts(int id) => (
            Directory.GetFileSystemEntries(string.Create(CultureInfo.InvariantCulture, $"/proc/{id}/fd")).Length,
            Directory.GetFileSystemEntries(string.Create(CultureInfo.InvariantCulture, $"/proc/{id}/task")).Length);
    }

    [KvmFact]
    public void A_panic_ends_it_all_the_same()
    {
        using var guest = new TestGuest(program =>
        {
            SmallGuests.Say(program, "Kernel panic - not syncing: test\r\n");
            SmallGuests.Reset(program);
        });
        VmmProcess.Ended ended = VmmProcess.Run("--kernel", guest.Path, "--mem", "32M", "--on-reboot", "restart");
        Assert.Equal(ExitCodes.GuestPanicked, ended.Code);
    }

    [KvmFact]
    public void Options_about_one_machine_are_refused_with_several()
    {
        using var guest = new TestGuest(SmallGuests.Reset);
        VmmProcess.Ended ended = VmmProcess.Run("exits", "--kernel", guest.Path, "--on-reboot", "restart");
        Assert.Equal(ExitCodes.Usage, ended.Code);
        OneLine.AssertIs("--on-reboot restart", ended.Error);
    }
}
