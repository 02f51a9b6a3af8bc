namespace Vmm.Devices.Virtio.Balloon;

/// <summary><c>struct virtio_balloon_config</c> and the feature bits (virtio 1.2, sections 5.5.3 and 5.5.4).</summary>
internal static class BalloonConfig
{
    public const ulong StatisticsQueue = 1 << 1;    // VIRTIO_BALLOON_F_STATS_VQ
    public const ulong DeflateOnOom = 1 << 2;       // VIRTIO_BALLOON_F_DEFLATE_ON_OOM
    public const ulong PagePoison = 1 << 4;         // VIRTIO_BALLOON_F_PAGE_POISON
    public const ulong PageReporting = 1 << 5;      // VIRTIO_BALLOON_F_PAGE_REPORTING

    // All fields are le32. free_page_hint_cmd_id, between them, stays 0: hints are not offered.
    public const int TargetOffset = 0;              // num_pages
    public const int ActualOffset = 4;              // actual
    public const int PoisonOffset = 12;             // poison_val
    public const int Length = 16;

    /// <summary>Bytes of a page of the balloon, whatever the guest's pages are (section 5.5.6).</summary>
    public const int PageBytes = 4096;
}
