using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Kvm;

public sealed class MsiVectorTests
{
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
