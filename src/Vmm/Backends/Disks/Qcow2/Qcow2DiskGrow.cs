using Vmm.Host;

namespace Vmm.Backends.Disks.Qcow2;

/// <summary>A longer disk. Its new clusters have no entries, so they read as zero; only the L1 table may need more entries, and
/// its last cluster mostly has space for them (with 64-KiB clusters up to 4 TiB).</summary>
internal sealed partial class Qcow2Disk
{
    public override string? Grow(ulong length)
    {
        if (_backing is not null && _backing.Length > _length)
        {
            return "its backing file is longer, and its data would become visible";
        }

        ulong perTable = 1UL << (_clusterBits + _header.L2Bits);
        ulong needed = (length / perTable) + (length % perTable == 0 ? 0UL : 1);
        ulong room = AlignUp((ulong)_header.L1Entries * 8) / 8;
        if (needed > room || needed * 8 > Qcow2Format.MaxL1Bytes)
        {
            return $"the image has room for a disk of {Math.Min(room, Qcow2Format.MaxL1Bytes / 8) * perTable} bytes; for more, end the "
                + $"machine and use: qemu-img resize {_file.Path} {length}";
        }

        int entries = Math.Max((int)needed, _map.L1Entries);

        // First the entries, durably, then the header's fields that make them valid: two fields in one sector.
        if (!_map.TryGrow(entries) || !_file.TryFlush() || !Qcow2Header.TryWriteSize(_file, length, entries))
        {
            return "the host could not write the image's header";
        }

        _length = length;
        return null;
    }
}
