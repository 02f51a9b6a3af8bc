using Vmm.Insight.Complaints;

namespace Vmm.Run.Results;

/// <summary>What a guest's kernel complained of during a run: the first ones with all that belongs to them, and how many there
/// were. Any thread.</summary>
/// <param name="console">Where the lines around them are.</param>
internal sealed class ComplaintList(ConsoleTail console)
{
    public const int Most = 64;

    private readonly Lock _lock = new();
    private readonly List<(Complaint Complaint, long End)> _found = [];

    /// <summary>Of all, also those beyond <see cref="Most"/>.</summary>
    public int Total { get; private set; }

    /// <summary>On a vCPU's thread; a guest can make any number of them.</summary>
    public void Add(Complaint complaint)
    {
        lock (_lock)
        {
            Total++;
            if (_found.Count < Most)
            {
                _found.Add((complaint, console.Total));
            }
        }
    }

    public IReadOnlyList<RunComplaint> ToResults()
    {
        lock (_lock)
        {
            return
            [
                .. _found.Select(each => new RunComplaint(
                    ComplaintNames.NameOf(each.Complaint.Kind), each.Complaint.Line, each.Complaint.Text,
                    ConsoleExcerpt.Around(console, each.End))),
            ];
        }
    }
}
