using Vmm.Insight.Complaints;

namespace Vmm.Run.Results;

/// <summary>What a guest's kernel complained of during a run: the first ones with the console's lines around them, the first of each
/// kind among them however many came before, and how many there were. Any thread.</summary>
/// <param name="console">Where the lines are; a ring, so they are copied before it comes round.</param>
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

    /// <summary>Of all, also those that were not kept.</summary>
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

    /// <summary>A lot is about to be printed: what belongs to those so far is what is there now.</summary>
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

    /// <summary>Of those that ended before a place on the console.</summary>
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
