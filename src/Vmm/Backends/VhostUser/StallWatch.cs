namespace Vmm.Backends.VhostUser;

/// <summary>Tells when a program has stopped to answer: requests wait, and from one look to the next and again to the next it has
/// answered none. Once until it answers again.</summary>
/// <param name="between">The time from look to look.</param>
internal sealed class StallWatch(TimeSpan between)
{
    private const int Enough = 2;

    private int _waiting, _answered, _times;

    /// <param name="waiting">Requests that wait.</param>
    /// <param name="answered">A number that every answer changes.</param>
    /// <returns>What to say; null for nothing.</returns>
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
