namespace Vmm.Daemon.Tests.StandIns;

internal static class Eventually
{
    /// <summary>Waits until something holds; fails when it does not come to that.</summary>
    public static async Task HoldsAsync(Func<Task<bool>> condition, string what, int seconds = 20)
    {
        for (int i = 0; i < 50 * seconds; i++)
        {
            if (await condition())
            {
                return;
            }

            await Task.Delay(20);
        }

        Assert.Fail($"never: {what}");
    }
}
