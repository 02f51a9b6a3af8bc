namespace Vmm.Bench.Guests;

/// <summary>A row of the table: a scenario from one privilege level.</summary>
/// <param name="Name">The scenario's.</param>
/// <param name="Cpl">0 or 3.</param>
internal sealed record GuestResult(string Name, int Cpl)
{
    /// <summary>vmm's samples.</summary>
    public Distribution? Vmm { get; set; }

    /// <summary>The yardstick's, from batches in between.</summary>
    public Distribution? Yardstick { get; set; }

    /// <summary>Median over the rounds of vmm's median by the yardstick's median.</summary>
    public double? Ratio { get; set; }

    /// <summary>Why there are no samples.</summary>
    public string? Without { get; set; }
}
