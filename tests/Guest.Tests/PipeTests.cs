using System.Buffers.Binary;
using Vmm.Guest.Tests.Harness;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>The console between pipes: no byte is lost, and vmm does not wait for a reader that is gone.</summary>
public sealed class PipeTests
{
    [KvmFact]
    public void A_reader_that_comes_late_and_reads_slowly_gets_every_byte()
    {
        // More than the pipe (4 KiB) and vmm's own ring (64 KiB) hold together: the guest has to wait in between.
        const int Pipe = 4096, Count = 5_000, Copies = 4;
        using TestGuest guest = SmallGuests.Countdown(Count, exitCode: 7);
        using VmmProcess vmm = VmmProcess.StartUnread(Pipe, "--kernel", guest.Path, "--mem", "32M");
        vmm.CloseInput();
        byte[] chunk = new byte[1000];
        using var all = new MemoryStream();
        for (int got; (got = vmm.RawOutput.Read(chunk)) > 0;)
        {
            all.Write(chunk, 0, got);
            Thread.Yield();
        }

        ReadOnlySpan<byte> bytes = all.GetBuffer().AsSpan(0, (int)all.Length);
        Assert.Equal(Count * Copies * sizeof(uint), bytes.Length);
        for (int i = 0; i < Count * Copies; i++)
        {
            uint expected = (uint)(Count - (i / Copies));
            Assert.Equal(expected, BinaryPrimitives.ReadUInt32LittleEndian(bytes[(i * sizeof(uint))..]));
        }

        Assert.Equal(new VmmProcess.Ended(7, "", ""), vmm.WaitForEnd());
    }

    [KvmFact]
    public void Output_that_nobody_reads_any_more_ends_vmm_with_one_line()
    {
        using TestGuest guest = SmallGuests.Chatter();
        using VmmProcess vmm = VmmProcess.StartInShell(
            "{ \"$@\"; echo \"code $?\" >&2; } | head -1", "--kernel", guest.Path, "--mem", "32M");
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal("ready\r\n", ended.Output);
        Assert.EndsWith($"\ncode {ExitCodes.HostCannot}\n", ended.Error, StringComparison.Ordinal);
        OneLine.AssertIs("standard output", ended.Error[..(ended.Error.IndexOf('\n', StringComparison.Ordinal) + 1)]);
    }

    [KvmFact]
    public void Output_to_a_full_disk_ends_vmm_with_one_line()
    {
        using TestGuest guest = SmallGuests.Chatter();
        using VmmProcess vmm = VmmProcess.StartInShell(
            "exec \"$@\" >/dev/full", "--kernel", guest.Path, "--mem", "32M");
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal(ExitCodes.HostCannot, ended.Code);
        OneLine.AssertIs("standard output", ended.Error);
    }
}
