using System.Buffers.Binary;
using Vmm.Devices.State;

namespace Vmm.Devices.Virtio.Transport;

/// <summary>The common configuration structure (virtio 1.2, section 4.1.4.3): <see cref="CommonConfiguration"/> as
/// registers, and the MSI-X vectors that the driver maps to queues and to configuration changes.</summary>
/// <param name="common">What the registers mean.</param>
/// <param name="vectors">Vectors in the MSI-X table.</param>
/// <param name="mapped">Called with a queue's number when its vector may have changed. Any thread.</param>
internal sealed class VirtioPciCommon(CommonConfiguration common, int vectors, Action<int> mapped)
{
    /// <summary>Bytes.</summary>
    public const int Length = 0x40;

    private const ushort NoVector = 0xffff;     // VIRTIO_MSI_NO_VECTOR

    private readonly ushort[] _queueVectors = NoVectors(common.QueueCount);
    private volatile ushort _configVector = NoVector;

    /// <summary>For configuration changes; 0xffff for none.</summary>
    public ushort ConfigVector => _configVector;

    /// <summary>For a queue; 0xffff for none.</summary>
    public ushort QueueVector(int queue) => Volatile.Read(ref _queueVectors[queue]);

    /// <summary>As a reset leaves them.</summary>
    public void UnmapVectors()
    {
        _configVector = NoVector;
        for (int queue = 0; queue < _queueVectors.Length; queue++)
        {
            Map(queue, NoVector);
        }
    }

    /// <summary>Writes the vectors; the rest is <see cref="CommonConfiguration"/>'s.</summary>
    public void Save(StateWriter state)
    {
        state.Write("configVector", (uint)_configVector);
        state.Write("queueVectors", _queueVectors, static (fields, vector) => fields.Write("vector", (uint)vector));
    }

    /// <summary>Takes over what <see cref="Save"/> wrote.</summary>
    public void Load(StateReader state)
    {
        _configVector = LoadVector(state, "configVector");
        StateReader[] queues = state.List("queueVectors", _queueVectors.Length, _queueVectors.Length);
        for (int i = 0; i < queues.Length; i++)
        {
            Map(i, LoadVector(queues[i], "vector"));
            queues[i].End();
        }
    }

    /// <summary>Reads at any width; zero behind the end.</summary>
    public void Read(int offset, Span<byte> data)
    {
        Span<byte> word = stackalloc byte[4];
        int at = -1;
        for (int i = 0; i < data.Length && offset + i < Length; i++)
        {
            if (at != ((offset + i) & ~3))
            {
                at = (offset + i) & ~3;
                BinaryPrimitives.WriteUInt32LittleEndian(word, ReadWord((PciCommonRegister)at));
            }

            data[i] = word[(offset + i) & 3];
        }
    }

    private uint ReadWord(PciCommonRegister register) => register switch
    {
        PciCommonRegister.device_feature_select => common.DeviceFeaturesSelect,
        PciCommonRegister.device_feature => common.DeviceFeatures,
        PciCommonRegister.driver_feature_select => common.DriverFeaturesSelect,
        PciCommonRegister.driver_feature => common.DriverFeatures,
        PciCommonRegister.config_msix_vector => _configVector | ((uint)common.QueueCount << 16),
        PciCommonRegister.device_status =>
            common.Status | ((uint)common.ConfigGeneration << 8) | (common.QueueSelect << 16),
        PciCommonRegister.queue_size => (common.QueueSize & 0xffff) | ((uint)SelectedVector << 16),
        PciCommonRegister.queue_enable => (common.QueueEnable ? 1u : 0) | (SelectedNotifyOffset << 16),
        PciCommonRegister.queue_desc => (uint)common.QueueDescriptorArea,
        PciCommonRegister.queue_desc + 4 => (uint)(common.QueueDescriptorArea >> 32),
        PciCommonRegister.queue_driver => (uint)common.QueueDriverArea,
        PciCommonRegister.queue_driver + 4 => (uint)(common.QueueDriverArea >> 32),
        PciCommonRegister.queue_device => (uint)common.QueueDeviceArea,
        PciCommonRegister.queue_device + 4 => (uint)(common.QueueDeviceArea >> 32),
        PciCommonRegister.queue_notif_config_data => (common.QueueReset ? 1u : 0) << 16,
        _ => 0,
    };

    /// <summary>Writes a register at its own width; others are ignored.</summary>
    public void Write(PciCommonRegister register, ReadOnlySpan<byte> data)
    {
        switch (data.Length)
        {
            case 1 when register == PciCommonRegister.device_status:
                common.Status = data[0];
                break;
            case 2:
                Write16(register, BinaryPrimitives.ReadUInt16LittleEndian(data));
                break;
            case 4:
                Write32(register, BinaryPrimitives.ReadUInt32LittleEndian(data));
                break;
            case 8 when register is PciCommonRegister.queue_desc or PciCommonRegister.queue_driver
                or PciCommonRegister.queue_device:
                Write32(register, BinaryPrimitives.ReadUInt32LittleEndian(data));
                Write32(register + 4, BinaryPrimitives.ReadUInt32LittleEndian(data[4..]));
                break;
        }
    }

    private void Write16(PciCommonRegister register, ushort value)
    {
        switch (register)
        {
            case PciCommonRegister.config_msix_vector:
                _configVector = Valid(value);
                break;
            case PciCommonRegister.queue_select:
                common.QueueSelect = value;
                break;
            case PciCommonRegister.queue_size:
                common.QueueSize = value;
                break;
            case PciCommonRegister.queue_msix_vector:
                SelectedVector = Valid(value);
                break;
            case PciCommonRegister.queue_enable when value == 1:
                common.EnableQueue();
                break;
            case PciCommonRegister.queue_reset when value == 1:
                common.ResetQueue(byRingReset: true);
                break;
        }
    }

    private void Write32(PciCommonRegister register, uint value)
    {
        switch (register)
        {
            case PciCommonRegister.device_feature_select:
                common.DeviceFeaturesSelect = value;
                break;
            case PciCommonRegister.driver_feature_select:
                common.DriverFeaturesSelect = value;
                break;
            case PciCommonRegister.driver_feature:
                common.DriverFeatures = value;
                break;
            case PciCommonRegister.queue_desc:
                common.QueueDescriptorArea = WithLow(common.QueueDescriptorArea, value);
                break;
            case PciCommonRegister.queue_desc + 4:
                common.QueueDescriptorArea = WithHigh(common.QueueDescriptorArea, value);
                break;
            case PciCommonRegister.queue_driver:
                common.QueueDriverArea = WithLow(common.QueueDriverArea, value);
                break;
            case PciCommonRegister.queue_driver + 4:
                common.QueueDriverArea = WithHigh(common.QueueDriverArea, value);
                break;
            case PciCommonRegister.queue_device:
                common.QueueDeviceArea = WithLow(common.QueueDeviceArea, value);
                break;
            case PciCommonRegister.queue_device + 4:
                common.QueueDeviceArea = WithHigh(common.QueueDeviceArea, value);
                break;
        }
    }

    private uint SelectedNotifyOffset => common.QueueSelect < (uint)_queueVectors.Length ? common.QueueSelect : 0;

    private ushort SelectedVector
    {
        get
        {
            uint queue = common.QueueSelect;
            return queue < (uint)_queueVectors.Length ? Volatile.Read(ref _queueVectors[queue]) : NoVector;
        }

        set
        {
            uint queue = common.QueueSelect;
            if (queue < (uint)_queueVectors.Length)
            {
                Map((int)queue, value);
            }
        }
    }

    private void Map(int queue, ushort vector)
    {
        Volatile.Write(ref _queueVectors[queue], vector);
        mapped(queue);
    }

    /// <summary>A vector that there is not reads back as none (4.1.5.1.2.1): the driver sees that it failed.</summary>
    private ushort Valid(ushort vector) => vector < vectors ? vector : NoVector;

    private ushort LoadVector(StateReader state, string name)
    {
        ushort vector = state.UInt16(name);
        return vector == Valid(vector) ? vector : throw state.Refuse(name, $"is vector {vector}, of {vectors}");
    }

    private static ulong WithLow(ulong address, uint low) => (address & 0xffff_ffff_0000_0000) | low;

    private static ulong WithHigh(ulong address, uint high) => (address & 0xffff_ffff) | ((ulong)high << 32);

    private static ushort[] NoVectors(int count)
    {
        var none = new ushort[count];
        none.AsSpan().Fill(NoVector);
        return none;
    }
}

/// <summary>Offsets in the common configuration structure (virtio 1.2, section 4.1.4.3).</summary>
internal enum PciCommonRegister
{
    device_feature_select = 0,      // 32 bits
    device_feature = 4,
    driver_feature_select = 8,
    driver_feature = 12,
    config_msix_vector = 16,        // 16 bits
    num_queues = 18,
    device_status = 20,             // 8 bits
    config_generation = 21,
    queue_select = 22,              // 16 bits
    queue_size = 24,
    queue_msix_vector = 26,
    queue_enable = 28,
    queue_notify_off = 30,
    queue_desc = 32,                // 64 bits, in halves or whole
    queue_driver = 40,
    queue_device = 48,
    queue_notif_config_data = 56,   // 16 bits
    queue_reset = 58,
}
