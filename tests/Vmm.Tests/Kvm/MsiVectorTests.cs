using Vmm.Host;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Kvm;

public sealed class MsiVectorTests
{
    private const ulong Address = 0xfee0_0000;

    /// <summary>A signal that KVM has taken is gone from the eventfd.</summary>
    [KvmFact]
    public void Another_programs_signals_are_KVMs_while_the_vector_is_open_and_stay_while_it_is_masked()
    {
        using KvmSystem kvm = KvmSystem.Open();
        using KvmVm vm = kvm.CreateVm();
        vm.CreateInterruptControllers();
        using var vector = new MsiVector(vm, new GsiRouter(vm));
        using EventFd early = new(), late = new();
        Assert.True(Stays(early));
        vector.Connect(early);
        Assert.True(Stays(early));
        vector.Update(Address, 0x31, masked: false);
        Assert.False(Stays(early));
        vector.Connect(late);
        Assert.False(Stays(late));
        vector.Update(Address, 0x31, masked: true);
        Assert.True(Stays(early) && Stays(late));
        vector.Disconnect(late);
        vector.Update(Address, 0x32, masked: false);
        vector.Update(Address, 0x33, masked: false);
        Assert.False(Stays(early));
        Assert.True(Stays(late));
        vector.Disconnect(early);
        Assert.True(Stays(early));

        static bool Stays(EventFd each)
        {
            each.Signal();
            return each.Drain();
        }
    }

    /// <summary>With 32-bit APIC ids KVM is at its strictest: see GsiRouter.</summary>
    [KvmTheory]
    [InlineData(0)]
    [InlineData(3)]
    public void Whatever_a_guest_writes_into_its_MSI_X_table_KVM_takes_it(int x2apicApi)
    {
        using KvmSystem kvm = KvmSystem.Open();
        using KvmVm vm = kvm.CreateVm();
        if (x2apicApi != 0)
        {
            vm.EnableCapability(KvmCapability.KVM_CAP_X2APIC_API, (ulong)x2apicApi);
        }

        vm.CreateInterruptControllers();
        var router = new GsiRouter(vm);
        MsiVector[] vectors = [.. Enumerable.Range(0, 4).Select(_ => new MsiVector(vm, router))];
        var random = new Random(0x351);
        try
        {
            // Each waits for all of KVM's readers of the table: a few hundred, not a million.
            for (int i = 0; i < 300; i++)
            {
                MsiVector vector = vectors[random.Next(vectors.Length)];
                ulong address = random.Next(3) switch
                {
                    0 => 0xfee0_0000 | (ulong)random.Next(0x10_0000),
                    1 => ulong.MaxValue,
                    _ => (ulong)random.NextInt64() << 1,
                };
                vector.Update(address, (uint)random.NextInt64(), masked: random.Next(8) == 0);
                vector.Trigger();
            }
        }
        finally
        {
            foreach (MsiVector vector in vectors)
            {
                vector.Dispose();
            }
        }
    }
}
