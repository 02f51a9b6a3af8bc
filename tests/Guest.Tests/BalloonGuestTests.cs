using Iced.Intel;
using Vmm.Guest.Tests.Harness;
using Vmm.Kvm;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;
using Xunit.Abstractions;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Guest.Tests;

/// <summary>Memory that a guest touched and does not use any more goes back to the host.</summary>
public sealed class BalloonGuestTests(ITestOutputHelper output)
{
    private const uint Reporting = 1 << 5;      // VIRTIO_BALLOON_F_PAGE_REPORTING
    private const int ReportingQueue = 2;       // the first behind those two that are always there
    private const uint Start = 32 << 20, Length = 256 << 20;
    private const string Given = "given\r\n", Zero = "zero\r\n";

    /// <summary>Both kinds of memory, by a guest of a few instructions: it touches each page, reports all, and finds zeros.</summary>
    [KvmTheory]
    [InlineData("320M")]
    [InlineData("320M,shared")]
    public void Touched_memory_that_is_reported_goes_back(string memory)
    {
        using TestGuest guest = SmallGuests.OnKey(
            static code =>
            {
                AssembledVirtio.Offer(code, 0, ReportingQueue, Start, Length);
                SmallGuests.Say(code, Given);
                Label halt = code.CreateLabel();
                code.mov(ebx, Start + (Length / 2));
                code.cmp(__dword_ptr[rbx], 0);
                code.jne(halt);
                SmallGuests.Say(code, Zero);
                code.Label(ref halt);
                code.hlt();
                code.jmp(halt);
            },
            static code =>
            {
                AssembledVirtio.Start(code, 0, ReportingQueue + 1, Reporting);
                Label touch = code.CreateLabel();
                code.mov(ebx, Start);
                code.Label(ref touch);
                code.mov(__dword_ptr[rbx], ebx);
                code.add(ebx, 4096);
                code.cmp(ebx, Start + Length);
                code.jne(touch);
            });
        using VmmProcess vmm = VmmProcess.Start("--kernel", guest.Path, "--mem", memory, "--transport", "mmio", "--balloon");
        vmm.Output.WaitFor(SmallGuests.Ready);
        long touched = ProcessInfo.Resident(vmm.Id);
        vmm.Type("x");
        vmm.Output.WaitFor(Given);
        long given = ProcessInfo.Resident(vmm.Id);
        output.WriteLine($"{touched >> 20} MiB resident with all touched, {given >> 20} MiB with it given back");
        Assert.InRange(touched, Length, long.MaxValue);
        Assert.InRange(touched - given, Length - (4 << 20), Length + (4 << 20));
        vmm.Output.WaitFor(Zero);
    }

    /// <summary>Linux reports by itself what it has freed (mm/page_reporting.c, some seconds later), in blocks of 4 MiB that are
    /// free as a whole; some 20 MiB are not. Where its kernel is emulated, touching 256 MiB takes minutes: less is done there.</summary>
    [KvmFact]
    public void Memory_that_Linux_freed_goes_back()
    {
        (int size, int least) = HostKinds.Detect() == HostKind.Pvm ? (64, 40) : (256, 200);
        string script = $"read go; dd if=/dev/zero of=/tmp/file bs=1M count={size} 2>/dev/null; echo touched=$?; read go; "
            + "rm /tmp/file; echo freed=$?; read go; echo balloon=$(ls -d /sys/bus/virtio/drivers/virtio_balloon/virtio*)";
        using VmmProcess vmm = VmmProcess.Start(
            "--kernel", Product.Vmlinux, "--mem", "600M", "--balloon", "--disk", Product.Rootfs + ",ephemeral",
            "--cmdline", "quiet " + GuestScript.Option(script));
        vmm.Type("\n");
        vmm.Output.WaitFor("touched=0");
        long touched = ProcessInfo.Resident(vmm.Id);
        vmm.Type("\n");
        vmm.Output.WaitFor("freed=0");
        long Back() => touched - ProcessInfo.Resident(vmm.Id) >> 20;
        ProcessInfo.WaitUntil(() => Back() >= least, $"{least} MiB of {size} MiB to come back", () => $"{Back()} MiB came back");
        output.WriteLine($"{Back()} MiB of {size} MiB came back");
        vmm.Type("\n");
        Assert.Equal(0, vmm.WaitForEnd().Code);
        Assert.Contains("virtio_balloon/virtio", GuestScript.Value(vmm.Output.Text, "balloon"), StringComparison.Ordinal);
    }
}
