namespace Vmm.Kvm;

internal enum Severity
{
    Good,

    /// <summary>Not required; without it something is slower or not offered.</summary>
    Lack,

    /// <summary>Required; without it no machine can run.</summary>
    Broken,
}

/// <summary>One line of <c>vmm check</c>.</summary>
/// <param name="Remedy">What to do; null where nothing needs to be done.</param>
internal sealed record Finding(Severity Severity, string Subject, string State, string? Remedy = null)
{
    public string Format(bool colour)
    {
        (string mark, string code) = Severity switch
        {
            Severity.Good => ("ok  ", "32"),
            Severity.Lack => ("lack", "33"),
            _ => ("FAIL", "31"),
        };
        string shown = colour ? $"\e[{code}m{mark}\e[0m" : mark;
        string line = $"{shown}  {Subject,-28}  {State}";
        return Remedy is null ? line : $"{line}\n{"",36}{Remedy}";
    }
}
