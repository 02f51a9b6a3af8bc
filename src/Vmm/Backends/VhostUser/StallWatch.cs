namespace Vmm.Backends.VhostUser;

/// <summary>Detects a program that has stopped answering: requests are pending, and none was answered during two checks in a
/// row. Reported once until it answers again.</summary>
/// <param name="between">The time between checks.</param>
internal sealed class StallWatch(TimeSpan between)
{
    private const int Enough = 2;

    private int _waiting, _answered, _times;

    /// <param name="waiting">Pending requests.</param>
    /// <param name="answered">A number that every answer changes.</param>
    /// <returns>The message; null for none.</returns>
    public string? Look(int waiting, int answered)
    {
        bool isStalled = waiting > 0 && _waiting > 0 && answered == _answered;
        (_waiting, _answered) = (waiting, answered);
        int before = _times;
        _times = isStalled ? _times + 1 : 0;
        return _times == Enough ? $"it has answered nothing for {Enough * between.TotalSeconds:0} s, {waiting} of the guest's requests wait"
            : before >= Enough && !isStalled ? "it answers again"
            : null;
    }
}
