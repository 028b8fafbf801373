// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IEnergyTrading} from "../interfaces/IEnergyTrading.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {OrderBits} from "../libraries/OrderBits.sol";

/// @title What stands behind forced orders.
/// @notice The operator must carry a forced order whoever placed it, so the order must be paid for beforehand: else one
/// person with two accounts would buy dear from himself and withdraw other people's money. An order locks the worst it
/// can cost, and only out of what was paid in here.
///
///     fund ──► free ──► locked (createOrder) ──► deposit of the account, once its interval is settled (returnEscrow)
///       withdrawFree ◄──┘   ▲    └──► seller (matchOrders, settleTransaction)
///                           └───────── what a match is cheaper than the buyer's lock; the seller's lock once he is paid
/// @dev The token held is what is free, what is locked and what trades have not paid yet.
abstract contract Escrow {
    using SafeERC20 for IERC20;

    /// @dev What an owner's next order needs, in the one slot that every order writes. `drainedAtS` is when the leaky
    /// bucket will be empty. 64 bits of nano-currency are 1.8e10 of currency; the dearest order costs 1e7.
    struct Trader {
        uint32 account;
        uint32 nonce;
        uint128 drainedAtS;
        uint64 freeNano;
    }

    /// @dev Limits of price and quantity that every bid keeps; an order beyond them could not be included.
    uint256 internal constant PRICE_LIMIT = 10_000_000;
    uint256 internal constant QUANTITY_LIMIT_WH = 1_000_000_000;

    /// @notice `from` paid `amountNano` into the free escrow of `account`.
    event Funded(uint32 indexed account, address indexed from, uint256 amountNano);
    /// @notice `owner` took `amountNano` out of the free escrow of `account`.
    event FreeWithdrawn(uint32 indexed account, address indexed owner, uint256 amountNano);
    /// @notice `amountNano` that was locked is free escrow of `account` again.
    event Unlocked(uint32 indexed account, uint256 amountNano);

    /// @notice No such account, or the supplier's, which places no orders.
    error UnknownAccount(uint32 account);
    /// @notice Nothing, or more than a bid, or than an escrow, may carry.
    error WrongAmount(uint256 amount);
    /// @notice The shortfall price is below the import tariff, or beyond what a price may be.
    error WrongShortfallPrice(int64 shortfallPrice);
    /// @notice The free escrow is smaller than what is asked of it.
    error NotCovered(uint256 missingNano);

    /// @notice The settlement whose accounts trade here.
    ISettlement public immutable settlement;
    /// @notice What a seller owes for a kWh that he does not deliver, at most, in micro-currency: the highest import
    /// tariff the community ever means to set. Under a higher one sellers' locks would fall short of their debts.
    int64 public immutable shortfallPrice;

    mapping(address owner => Trader trader) internal _traders;

    constructor(ISettlement settlement_, int64 shortfallPrice_) {
        (int64 tariffImport,) = settlement_.tariffs();
        bool fits = shortfallPrice_ >= tariffImport && shortfallPrice_ <= int64(uint64(PRICE_LIMIT));
        if (!fits) revert WrongShortfallPrice(shortfallPrice_);
        settlement = settlement_;
        shortfallPrice = shortfallPrice_;
    }

    /// @notice Pays `amountNano` of the caller's token allowance into the free escrow of `account`.
    function fund(uint32 account, uint256 amountNano) external {
        address owner = settlement.ownerOf(account);
        if (account == 0 || owner == address(0)) revert UnknownAccount(account);
        Trader memory trader = _traders[owner];
        if (amountNano == 0 || amountNano > type(uint64).max - trader.freeNano) revert WrongAmount(amountNano);

        trader.account = account;
        trader.freeNano += uint64(amountNano);
        _traders[owner] = trader;

        emit Funded(account, msg.sender, amountNano);
        _token().safeTransferFrom(msg.sender, address(this), _unitsOf(amountNano));
    }

    /// @notice Pays free escrow of the caller's back to him, at any time.
    function withdrawFree(uint256 amountNano) external {
        Trader memory trader = _traders[msg.sender];
        if (amountNano == 0) revert WrongAmount(amountNano);

        _draw(trader, amountNano);
        _traders[msg.sender] = trader;

        emit FreeWithdrawn(trader.account, msg.sender, amountNano);
        _token().safeTransfer(msg.sender, _unitsOf(amountNano));
    }

    /// @notice What the next orders of `account` may lock.
    function freeNano(uint32 account) external view returns (uint256) {
        return _traders[settlement.ownerOf(account)].freeNano;
    }

    /// @dev Takes from the free escrow. The caller stores `trader`.
    function _draw(Trader memory trader, uint256 amountNano) internal pure {
        if (amountNano > trader.freeNano) revert NotCovered(amountNano - trader.freeNano);
        trader.freeNano -= uint64(amountNano);
    }

    /// @dev What is no longer locked is free. Casting: a part of an order's lock, which came out of 64 bits. The sum is
    /// checked: whoever holds 1e10 in escrow has to withdraw before more is unlocked.
    function _unlock(uint32 account, uint256 amountNano) internal {
        if (amountNano == 0) return;
        _traders[settlement.ownerOf(account)].freeNano += uint64(amountNano);
        emit Unlocked(account, amountNano);
    }

    /// @dev The most that one Wh of the order can cost its trader, in nano-currency. A buyer pays no more than his
    /// limit; a seller who does not deliver owes the import tariff less what he was to earn.
    function _worstPrice(OrderBits.Fields memory order) internal view returns (uint256) {
        if (order.side == IEnergyTrading.OrderType.BUY) return order.price;
        // Casting: prices of orders have 24 bits.
        int256 price = int256(order.price);
        return price < shortfallPrice ? uint256(shortfallPrice - price) : 0;
    }

    /// @dev Whether what auctions made of orders for that quarter-hour is part of the final balances, or will never be
    /// because headers stopped for so long that no reserve counts any more. Intervals of headers are consecutive, so
    /// the last final one is as far behind the tip as headers are not final; a header settles what was delivered
    /// `graceIntervals` before.
    function _isSettled(uint256 interval) internal view returns (bool) {
        uint256 finalCount = settlement.finalisedCount();
        uint256 settledAt = interval + settlement.graceIntervals();
        if (finalCount != 0 && settlement.tipInterval() + finalCount >= settlement.headerCount() + settledAt) {
            return true;
        }
        return settlement.isReleased();
    }

    function _token() internal view returns (IERC20) {
        return IERC20(settlement.token());
    }

    function _unitsOf(uint256 amountNano) internal view returns (uint256) {
        return amountNano * settlement.tokenUnitsPerNano();
    }
}
