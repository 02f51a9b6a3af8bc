using System.Text;
using Vmm.Host;

namespace Vmm.Run.Copy;

/// <summary>A tar archive that a guest sends, on its way to the library that reads it: what would make that take much memory, or never
/// end, is refused here.</summary>
/// <remarks>Headers of POSIX ustar, GNU and pax (IEEE Std 1003.1, pax): 512 bytes, the size at 124, the type at 156. Content follows in
/// whole blocks.</remarks>
/// <param name="source">Read forwards only.</param>
/// <param name="most">Bytes of the archive.</param>
internal sealed class ArchiveGuard(Stream source, long most) : SequentialStream
{
    private const int Block = 512, SizeAt = 124, SizeLength = 12, TypeAt = 156, MostExtension = 64 << 10;

    private byte[] _checked = [];
    private int _first;
    private long _content, _total;
    private bool _hasEnded;

    public override bool CanRead => true;

    /// <exception cref="ArchiveException">The archive is refused.</exception>
    public override int Read(Span<byte> buffer)
    {
        if (_first == _checked.Length && _content == 0 && !_hasEnded)
        {
            CheckHeader();
        }

        if (_first < _checked.Length)
        {
            int part = Math.Min(buffer.Length, _checked.Length - _first);
            _checked.AsSpan(_first, part).CopyTo(buffer);
            _first += part;
            return part;
        }

        if (_hasEnded || buffer.IsEmpty)
        {
            return 0;
        }

        int got = source.Read(buffer[..(int)Math.Min(buffer.Length, _content)]);
        _content -= got;
        return got > 0 ? Count(got) : throw new ArchiveException("the archive ends in the middle");
    }

    private int Count(int bytes)
    {
        _total += bytes;
        return _total <= most ? bytes : throw new ArchiveException("more than --limit allows");
    }

    private void CheckHeader()
    {
        byte[] header = new byte[Block];
        int got = source.ReadAtLeast(header, Block, throwOnEndOfStream: false);
        Count(got);
        if (got < Block)
        {
            _hasEnded = true;
            (_checked, _first) = (header[..got], 0);
            return;
        }

        long size = header.AsSpan().IndexOfAnyExcept((byte)0) < 0 ? 0 : SizeOf(header.AsSpan(SizeAt, SizeLength));
        if (size > most - _total)
        {
            throw new ArchiveException("more than --limit allows");
        }

        long content = (size + Block - 1) / Block * Block;
        char type = (char)header[TypeAt];
        if (type is 'x' or 'g' or 'L' or 'K')
        {
            // These are read as a whole.
            if (size > MostExtension)
            {
                throw new ArchiveException("a name of more than 64 KiB");
            }

            Array.Resize(ref header, Block + (int)content);
            if (source.ReadAtLeast(header.AsSpan(Block), (int)content, throwOnEndOfStream: false) < content)
            {
                throw new ArchiveException("the archive ends in the middle");
            }

            Count((int)content);
            if (type is 'x' or 'g' && header.AsSpan(Block).IndexOf(" size="u8) >= 0)
            {
                throw new ArchiveException("a size in an extended header");     // headers would not be found from here on
            }

            content = 0;
        }
        else if (type is '1' or '2' or '3' or '4' or '5' or '6')
        {
            if (size != 0)
            {
                throw new ArchiveException("a link, directory or device with content");
            }
        }
        else if (type is not ('0' or '\0' or '7'))
        {
            throw new ArchiveException($"an entry of an unknown kind ({(int)type})");
        }

        (_checked, _first, _content) = (header, 0, content);
    }

    /// <summary>Octal digits, or with the first bit set a number in base 256 (GNU).</summary>
    private static long SizeOf(ReadOnlySpan<byte> field)
    {
        if (field[0] == 0x80)
        {
            long value = 0;
            foreach (byte each in field[1..])
            {
                value = value <= long.MaxValue >> 8 ? (value << 8) | each : throw new ArchiveException("a size that no file has");
            }

            return value;
        }

        string text = Encoding.ASCII.GetString(field).Trim(' ', '\0');
        return text.All(static c => c is >= '0' and <= '7')
            ? text.Length == 0 ? 0 : Convert.ToInt64(text, 8)
            : throw new ArchiveException("a size that is no number");
    }
}

/// <summary>An archive from a guest is refused; the message says why.</summary>
internal sealed class ArchiveException(string message) : IOException(message);
