using Vmm.Insight.Complaints;

namespace Vmm.Run.Results;

/// <summary>The complaints of a guest's kernel during a run: the first ones with the console's lines around them, always
/// including the first of each kind, and the total number. Any thread.</summary>
/// <param name="console">Has the lines; a ring, so they are copied before they are overwritten.</param>
internal sealed class ComplaintList(ConsoleTail console)
{
    public const int Most = 64;
    private const int Behind = 4000;

    private readonly Lock _lock = new();
    private readonly List<Entry> _found = [];
    private readonly HashSet<ComplaintKind> _kinds = [];

    private sealed record Entry(Complaint Complaint, long End)
    {
        public IReadOnlyList<string>? Around { get; set; }
    }

    /// <summary>The number of all complaints, including those that were not kept.</summary>
    public int Total { get; private set; }

    /// <summary>On a vCPU's thread; a guest can make any number of them.</summary>
    public void Add(Complaint complaint)
    {
        lock (_lock)
        {
            Total++;
            Copy(console.Total - Behind);
            if (_kinds.Add(complaint.Kind) || _found.Count < Most)
            {
                _found.Add(new Entry(complaint, console.Total));
            }
        }
    }

    /// <summary>Copies the lines around all complaints so far, before much more is printed.</summary>
    public void Keep()
    {
        lock (_lock)
        {
            Copy(long.MaxValue);
        }
    }

    public IReadOnlyList<RunComplaint> ToResults()
    {
        lock (_lock)
        {
            Copy(long.MaxValue);
            return
            [
                .. _found.Select(static each => new RunComplaint(
                    ComplaintNames.NameOf(each.Complaint.Kind), each.Complaint.Line, each.Complaint.Text, each.Around!)),
            ];
        }
    }

    /// <summary>Copies the lines around complaints that ended before a place on the console.</summary>
    private void Copy(long before)
    {
        foreach (Entry entry in _found)
        {
            if (entry.Around is null && entry.End <= before)
            {
                entry.Around = ConsoleExcerpt.Around(console, entry.End);
            }
        }
    }
}
