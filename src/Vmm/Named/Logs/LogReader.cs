using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Named.Logs;

/// <summary>Reads a machine's console.log from the beginning, and continues while it is written.</summary>
/// <param name="directory">Of the machine.</param>
internal sealed class LogReader(string directory) : IDisposable
{
    private const int MostLine = LogFormat.MostFront + (64 << 10);

    private readonly byte[] _buffer = new byte[MostLine];
    private int _count;
    private FileStream? _file;
    private ulong _inode;
    private bool _hasBegun;

    /// <summary>Reads the lines that are new since the last call.</summary>
    /// <param name="take">Gets each, without its line feed.</param>
    /// <exception cref="HostException">It cannot be read.</exception>
    public void ReadOn(LogLineTaker take)
    {
        try
        {
            if (!_hasBegun)
            {
                _hasBegun = true;
                ReadAll(LogFormat.OldFileName, take);
            }

            if (_file is not null && !IsCurrent())
            {
                ReadFile(_file, take);      // what was added before the new one was begun
                _file.Dispose();
                _file = null;
            }

            _file ??= TryOpen(LogFormat.FileName);
            if (_file is not null)
            {
                _inode = HostFile.TryStatus($"/proc/self/fd/{Number(_file)}", out Statx status) ? status.Inode : 0;
                ReadFile(_file, take);
            }
        }
        catch (Exception error) when (FileErrors.Describe(error) is { } why)
        {
            throw new HostException($"{Path.Combine(directory, LogFormat.FileName)}: {why}");
        }
    }

    public void Dispose() => _file?.Dispose();

    private static int Number(FileStream file) => (int)file.SafeFileHandle.DangerousGetHandle();

    private bool IsCurrent() =>
        !HostFile.TryStatus(Path.Combine(directory, LogFormat.FileName), out Statx status) || status.Inode == _inode;

    private FileStream? TryOpen(string name)
    {
        try
        {
            return new FileStream(
                Path.Combine(directory, name), FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
    }

    private void ReadAll(string name, LogLineTaker take)
    {
        using FileStream? file = TryOpen(name);
        if (file is not null)
        {
            ReadFile(file, take);
        }
    }

    private void ReadFile(FileStream file, LogLineTaker take)
    {
        while (file.Read(_buffer.AsSpan(_count)) is > 0 and var got)
        {
            _count += got;
            int first = 0;
            while (_buffer.AsSpan(first, _count - first).IndexOf((byte)'\n') is >= 0 and var length)
            {
                take(_buffer.AsSpan(first, length));
                first += length + 1;
            }

            if (first == 0 && _count == _buffer.Length)
            {
                take(_buffer);      // nobody writes such lines; still it ends
                first = _count;
            }

            _count -= first;
            _buffer.AsSpan(first, _count).CopyTo(_buffer);
        }
    }
}

/// <param name="line">Without its line feed; good until this returns.</param>
internal delegate void LogLineTaker(ReadOnlySpan<byte> line);
