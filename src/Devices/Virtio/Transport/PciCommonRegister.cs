namespace Vmm.Devices.Virtio.Transport;

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
