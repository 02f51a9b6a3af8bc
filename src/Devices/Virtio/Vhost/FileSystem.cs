using System.Buffers.Binary;
using System.Text;

namespace Vmm.Devices.Virtio.Vhost;

/// <summary>A file system device (virtio 1.2, section 5.11): requests of FUSE, served by another program.</summary>
/// <remarks>Queue 0 is for requests that must not wait, queue 1 for all others. Configuration:
/// <code>
/// tag[36]: UTF-8, padded with zeros      num_request_queues: 32
/// </code>
/// </remarks>
public sealed class FileSystem : VhostDevice
{
    /// <summary>Bytes that a tag may have.</summary>
    public const int MostTagBytes = 36;

    private const uint DeviceIdFileSystem = 26;
    private const ushort QueueLength = 1024;
    private const int RequestQueues = 1;

    // FUSE, <linux/fuse.h>: struct fuse_in_header begins with length, opcode and unique; struct fuse_out_header is
    // length, error and unique.
    private const int InUnique = 8, InHeaderBytes = 40, OutHeaderBytes = 16;
    private const int InputOutputError = -5;        // -EIO

    private readonly byte[] _config = new byte[MostTagBytes + sizeof(uint)];

    /// <param name="name">The name in messages and statistics: <c>virtio-fs0</c>.</param>
    /// <param name="tag">By which the guest mounts it; 1 to <see cref="MostTagBytes"/> bytes of UTF-8.</param>
    /// <param name="backend">The program that serves it.</param>
    public FileSystem(string name, string tag, IVhostBackend backend)
        : base(name, DeviceIdFileSystem, features: 0, backend, QueueLength, QueueLength)
    {
        if (tag.Length == 0 || Encoding.UTF8.GetByteCount(tag) > MostTagBytes)
        {
            throw new ArgumentException($"{name}: a tag has 1 to {MostTagBytes} bytes");
        }

        Encoding.UTF8.GetBytes(tag, _config);
        BinaryPrimitives.WriteUInt32LittleEndian(_config.AsSpan(MostTagBytes), RequestQueues);
    }

    /// <inheritdoc/>
    public override int ConfigLength => _config.Length;

    /// <inheritdoc/>
    protected internal override void ReadConfig(int offset, Span<byte> data) =>
        _config.AsSpan(offset, data.Length).CopyTo(data);

    /// <inheritdoc/>
    protected override void FailRequest(Virtqueue queue, in DescriptorChain chain)
    {
        Span<byte> header = stackalloc byte[InHeaderBytes];
        ReadOnlySpan<IoVector> buffers = Buffers.AsSpan(0, chain.Count);
        if (VirtqueueBuffers.CopyFrom(buffers[..chain.Readable], header) < InHeaderBytes
            || BinaryPrimitives.ReadUInt32LittleEndian(header) != chain.ReadableBytes
            || chain.WritableBytes < OutHeaderBytes)
        {
            queue.Complete(chain, 0);       // FORGET has no answer
            return;
        }

        Span<byte> answer = stackalloc byte[OutHeaderBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(answer, OutHeaderBytes);
        BinaryPrimitives.WriteInt32LittleEndian(answer[4..], InputOutputError);
        header.Slice(InUnique, sizeof(ulong)).CopyTo(answer[8..]);
        VirtqueueBuffers.CopyTo(buffers[chain.Readable..], answer);
        queue.Complete(chain, OutHeaderBytes);
    }
}
