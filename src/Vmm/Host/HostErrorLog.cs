using System.Globalization;
using System.Runtime.InteropServices;

namespace Vmm.Host;

/// <summary>Tells the user which files of the host fail under the guest's disks: the guest gets I/O errors, and only the
/// host knows that its disk is full.</summary>
/// <remarks>For each file one line at the first error and at most one a minute after that, with the number of errors; and
/// one at the end. On the event loop's thread, or whoever stands in for it.</remarks>
internal sealed class HostErrorLog(TimeProvider time, Action<string> say)
{
    private static readonly TimeSpan Pause = TimeSpan.FromMinutes(1);

    private readonly Dictionary<string, Entry> _files = new(StringComparer.Ordinal);

    /// <summary>What is to be said at the end, one line for each file that failed.</summary>
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
