using Vmm.Guest.Tests.Harness;
using Vmm.Machines;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>One image has one writer or many readers, over all vmm processes.</summary>
public sealed class DiskSharingTests
{
    [KvmFact]
    public void A_second_vmm_cannot_open_an_image_that_one_writes_to()
    {
        using var folder = new TemporaryFolder();
        using TestGuest guest = SmallGuests.Idle();
        string disk = folder.WriteSparse("disk", 1 << 20);
        using VmmProcess writer = Start(guest, disk);
        AssertRefused(guest, disk, "in use by another");
        AssertRefused(guest, disk + ",readonly", "another machine writes to it");

        // The lock goes with the process, whatever ended it.
        writer.Signal(Signals.SIGKILL);
        writer.WaitForEnd();
        using VmmProcess next = Start(guest, disk);
    }

    [KvmFact]
    public void An_image_that_is_open_elsewhere_stays_as_it_is()
    {
        // Opening a qcow2 for writing may repair it and clear bits of its header: not while another has it.
        using var folder = new TemporaryFolder();
        using TestGuest guest = SmallGuests.Idle();
        string disk = folder["disk.qcow2"];
        HostTool.Do(Product.Vmm, "disk", "create", disk, "1G");
        using VmmProcess writer = Start(guest, disk);
        byte[] before = File.ReadAllBytes(disk);
        AssertRefused(guest, disk, "in use by another");
        AssertRefused(guest, disk + ",readonly", "another machine writes to it");
        AssertRefused(guest, $"{disk},overlay={folder["overlay.qcow2"]}", "another machine writes to it");
        Assert.Equal(before, File.ReadAllBytes(disk));
    }

    [KvmFact]
    public void Readers_share_an_image_and_keep_writers_out()
    {
        using var folder = new TemporaryFolder();
        using TestGuest guest = SmallGuests.Idle();
        string disk = folder.WriteSparse("disk", 1 << 20);
        using VmmProcess first = Start(guest, disk + ",readonly");
        using VmmProcess second = Start(guest, disk + ",readonly");
        AssertRefused(guest, disk, "in use by another");
    }

    private static void AssertRefused(TestGuest guest, string disk, string why)
    {
        VmmProcess.Ended ended = VmmProcess.Run("--kernel", guest.Path, "--disk", disk);
        Assert.Equal(ExitCodes.Usage, ended.Code);
        OneLine.AssertIs(why, ended.Error);
    }

    private static VmmProcess Start(TestGuest guest, string disk)
    {
        VmmProcess vmm = VmmProcess.Start("--kernel", guest.Path, "--mem", "32M", "--disk", disk);
        vmm.Output.WaitFor(SmallGuests.Ready);
        return vmm;
    }
}
