using System.Globalization;
using System.Runtime.InteropServices;

namespace Vmm.Host;

/// <summary>Reports which files of the guest's disks fail on the host: the guest only sees I/O errors, the user must learn that
/// the disk is full.</summary>
/// <remarks>For each file one line at the first error and at most one a minute after that, with the number of errors; and
/// one at the end. On the event loop's thread, or another while it does not run.</remarks>
internal sealed class HostErrorLog(TimeProvider time, Action<string> say)
{
    private static readonly TimeSpan Pause = TimeSpan.FromMinutes(1);

    private readonly Dictionary<string, Entry> _files = new(StringComparer.Ordinal);

    /// <summary>The lines for the end of the run, one for each file that failed.</summary>
    public IEnumerable<string> Summary => _files.Select(file => string.Create(
        CultureInfo.InvariantCulture,
        $"{file.Key}: {file.Value.Count} I/O error{(file.Value.Count == 1 ? "" : "s")}, the last one: {file.Value.Last}"));

    /// <summary>Notes an operation that failed.</summary>
    public void Report(string path, FileOperation operation, int errno)
    {
        if (errno == ErrnoException.EOPNOTSUPP)
        {
            return;     // the file system cannot, and vmm does it in another way
        }

        if (!_files.TryGetValue(path, out Entry? entry))
        {
            _files[path] = entry = new Entry();
        }

        entry.Count++;
        if (entry.Errno != errno || entry.Operation != operation)
        {
            (entry.Errno, entry.Operation) = (errno, operation);
            entry.Last = $"{Name(operation)}: {Marshal.GetPInvokeErrorMessage(errno)}";
        }

        if (entry.Count == 1 || time.GetElapsedTime(entry.SaidAt) >= Pause)
        {
            entry.SaidAt = time.GetTimestamp();
            string again = entry.Count == 1 ? "" : string.Create(CultureInfo.InvariantCulture, $" ({entry.Count} so far)");
            say($"{path}: {entry.Last}: the guest gets I/O errors{again}");
        }
    }

    private static string Name(FileOperation operation) => operation switch
    {
        FileOperation.Read => "cannot be read",
        FileOperation.Write => "cannot be written",
        FileOperation.Sync => "cannot be made durable",
        _ => "has no space reserved or freed",
    };

    private sealed class Entry
    {
        public long Count { get; set; }

        public FileOperation Operation { get; set; }

        public int Errno { get; set; }

        public string Last { get; set; } = "";

        public long SaidAt { get; set; }
    }
}
